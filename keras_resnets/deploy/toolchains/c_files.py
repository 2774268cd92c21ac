"""C++ sources of a network for TensorFlow Lite Micro.

They need no file system and no headers except TensorFlow Lite Micro's.
"""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_resnets.images.preprocessing import Preprocessing

NAMES = (
    "model_data.h",
    "model_data.cc",
    "model_settings.h",
    "model_operators.h",
    "test_image.h",
    "test_image.cc",
    "main.cc",
)
_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "float32": "float"}
# Numbers per line, which then has at most 88 characters.
_IN_A_LINE = 14


@dataclasses.dataclass(frozen=True)
class Sources:
    """The data from which the sources are generated.

    Attributes:
        content: bytes of the TFLite file.
        arena: size of the tensor arena in bytes; None if it was not measured.
        operators: names of the file's operators, each once.
        input, output: `dtype`, `shape`, `scale` and `zero_point` of each.
        labels: name of each class.
        preprocessing: preprocessing of RGB pixels; None if the file includes it.
        image: one test image in the input's type.
        expected: the file's output for it, in the output's type.
        cuts: score from which on each label is predicted; None for one class per image.
    """

    content: bytes
    arena: int | None
    operators: tuple[str, ...]
    input: dict[str, Any]
    output: dict[str, Any]
    labels: tuple[str, ...]
    preprocessing: Preprocessing | None
    image: np.ndarray
    expected: np.ndarray
    cuts: np.ndarray | None = None

    def texts(self) -> dict[str, str]:
        """Returns the text of each file in `NAMES`."""
        makers = (
            _DATA_H.format(size=len(self.content)),
            self._data(),
            self._settings(),
            self._operators(),
            self._test_header(),
            self._test_data(),
            self._main(),
        )
        return dict(zip(NAMES, makers, strict=True))

    def _data(self) -> str:
        numbers = _lines(f"0x{byte:02x}" for byte in self.content)
        return (
            '#include "model_data.h"\n\nnamespace model {\n\n'
            f"alignas(16) const unsigned char kData[kBytes] = {{\n{numbers}}};\n\n"
            "}  // namespace model\n"
        )

    def _settings(self) -> str:
        height, width, channels = self.input["shape"][1:]
        arena = self.arena or 10 * len(self.content)
        note = "measured to the byte" if self.arena else "NOT MEASURED, a guess"
        labels = "".join(f"    {_quoted(label)},\n" for label in self.labels)
        return _SETTINGS.format(
            note=note,
            arena=arena,
            input=_TYPES[self.input["dtype"]],
            output=_TYPES[self.output["dtype"]],
            height=height,
            width=width,
            channels=channels,
            classes=len(self.labels),
            in_scale=_float(self.input["scale"]),
            in_zero=self.input["zero_point"],
            out_scale=_float(self.output["scale"]),
            out_zero=self.output["zero_point"],
            labels=labels,
            quantize=self._quantize(),
            thresholds=self._thresholds(),
        )

    def _thresholds(self) -> str:
        """Returns the C++ function that checks a label; "" for one class per image."""
        if self.cuts is None:
            return ""
        values = "".join(f"    {_float(value)},\n" for value in self.cuts)
        return _THRESHOLDS.format(values=values)

    def _main(self) -> str:
        """Returns the C++ program, which prints the most likely class, or all labels."""
        is_one_class = self.cuts is None
        return (
            _MAIN.replace("@best@", "  int best = 0;\n" if is_one_class else "")
            .replace("@finding@", _BEST if is_one_class else "")
            .replace("@telling@", _TELL_BEST if is_one_class else _TELL_ALL)
        )

    def _quantize(self) -> str:
        """Returns the C++ function that converts a pixel value to an input value."""
        preprocessing = self.preprocessing
        if preprocessing is None:
            return _PIXEL
        order = (
            ""
            if preprocessing.channel_order == "rgb"
            else "  // BGR: channel 0 is blue\n"
        )
        mean, std = (
            ", ".join(map(_float, values))
            for values in (preprocessing.mean, preprocessing.std)
        )
        head = _NORMALIZE.format(
            order=order,
            count=len(preprocessing.mean),
            mean=mean,
            std=std,
            scale=_float(preprocessing.scale),
            value="uint8_t" if preprocessing.takes_pixels else "float",
        )
        if self.input["dtype"] == "float32":
            return head + "  return value;\n}\n"
        limits = np.iinfo(self.input["dtype"])
        return head + _ROUND.format(low=limits.min, high=limits.max)

    def _operators(self) -> str:
        adding = "".join(
            f"  if (resolver.{adder(name)}() != kTfLiteOk) return kTfLiteError;\n"
            for name in self.operators
        )
        return _OPERATORS.format(count=len(self.operators), adding=adding)

    def _test_header(self) -> str:
        return _TEST_H.format(inputs=self.image.size, outputs=self.expected.size)

    def _test_data(self) -> str:
        arrays = "".join(
            f"alignas(16) const {name} = {{\n{_lines(_words(values))}}};\n\n"
            for name, values in (
                ("Input kTestImage[kTestInputs]", self.image),
                ("Output kTestOutputs[kTestScores]", self.expected),
            )
        )
        return (
            f'#include "test_image.h"\n\nnamespace model {{\n\n{arrays}'
            "}  // namespace model\n"
        )


# Operators whose name is one word in the file and several in TFLM's resolver.
_WORDS = {"BATCH_MATMUL": "BATCH_MAT_MUL", "CUMSUM": "CUM_SUM"}


def adder(operator: str) -> str:
    """Returns the method of TFLM's resolver that adds an operator.

    Example:
        >>> adder("CONV_2D"), adder("PADV2"), adder("LEAKY_RELU")
        ('AddConv2D', 'AddPadV2', 'AddLeakyRelu')
    """
    words = _WORDS.get(operator, operator)
    parts = re.sub(r"V2$", "_V2", words).split("_")
    return "Add" + "".join(
        part if part[0].isdigit() else part[0] + part[1:].lower() for part in parts
    )


def _float(value: float) -> str:
    """Returns the C++ literal of the nearest float32."""
    text = f"{np.float32(value):.9g}"
    return f"{text if set(text) & set('.en') else text + '.0'}f"


def _words(values: np.ndarray) -> Iterable[str]:
    flat = values.reshape(-1)
    if flat.dtype.kind == "f":
        return (_float(value) for value in flat)
    return (str(int(value)) for value in flat)


def _lines(words: Iterable[str]) -> str:
    """Returns numbers separated by commas, in lines of at most 88 characters."""
    items = list(words)
    rows = (items[i : i + _IN_A_LINE] for i in range(0, len(items), _IN_A_LINE))
    return "".join(f"    {', '.join(row)},\n" for row in rows)


def _quoted(text: str) -> str:
    """Returns a C++ string literal; non-ASCII text becomes octal bytes of UTF-8."""
    plain = set(range(32, 127)) - set(b'"\\?')
    return (
        '"'
        + "".join(
            chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()
        )
        + '"'
    )


_DATA_H = """// The network: a .tflite file as a constant array, which stays in flash.
#ifndef MODEL_DATA_H_
#define MODEL_DATA_H_

namespace model {{

constexpr unsigned int kBytes = {size}u;
extern const unsigned char kData[kBytes];

}}  // namespace model

#endif  // MODEL_DATA_H_
"""
_SETTINGS = """// Input, output and memory of the network.
#ifndef MODEL_SETTINGS_H_
#define MODEL_SETTINGS_H_

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace model {{

// Size of the tensor arena: {note}.
constexpr std::size_t kArenaBytes = {arena};

using Input = {input};
using Output = {output};
constexpr int kHeight = {height};
constexpr int kWidth = {width};
constexpr int kChannels = {channels};
constexpr int kClasses = {classes};

// real value = scale * (integer - zero point); the scale of a float type is 0.
constexpr float kInputScale = {in_scale};
constexpr int kInputZeroPoint = {in_zero};
constexpr float kOutputScale = {out_scale};
constexpr int kOutputZeroPoint = {out_zero};

constexpr const char* kLabels[kClasses] = {{
{labels}}};

{quantize}
// Converts an output value to a probability (or logit).
inline float Score(Output output) {{
  const float value = static_cast<float>(output);
  return kOutputScale > 0.0f ? kOutputScale * (value - kOutputZeroPoint) : value;
}}
{thresholds}
}}  // namespace model

#endif  // MODEL_SETTINGS_H_
"""
_PIXEL = """// The network takes RGB pixels without preprocessing.
inline Input Quantize(uint8_t pixel, int) { return static_cast<Input>(pixel); }
"""
_NORMALIZE = """// Converts a pixel value of a channel to an input value.
inline Input Quantize({value} pixel, int channel) {{
{order}  constexpr float kMean[{count}] = {{{mean}}};
  constexpr float kStd[{count}] = {{{std}}};
  float value = static_cast<float>(pixel) * {scale};
  value = (value - kMean[channel]) / kStd[channel];
"""
_ROUND = """  value = std::nearbyint(value / kInputScale) + kInputZeroPoint;
  if (value < {low}.0f) value = {low}.0f;
  if (value > {high}.0f) value = {high}.0f;
  return static_cast<Input>(value);
}}
"""
_THRESHOLDS = """
// An image has every label whose score reaches its threshold: none, one or several.
constexpr float kThresholds[kClasses] = {{
{values}}};

inline bool Has(Output output, int label) {{
  return Score(output) >= kThresholds[label];
}}
"""
_OPERATORS = """// The network's operators; the linker drops all others.
#ifndef MODEL_OPERATORS_H_
#define MODEL_OPERATORS_H_

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

namespace model {{

constexpr int kOperators = {count};

inline TfLiteStatus AddOperators(
    tflite::MicroMutableOpResolver<kOperators>& resolver) {{
{adding}  return kTfLiteOk;
}}

}}  // namespace model

#endif  // MODEL_OPERATORS_H_
"""
_TEST_H = """// A test image and the output of LiteRT's reference kernels for it.
#ifndef MODEL_TEST_IMAGE_H_
#define MODEL_TEST_IMAGE_H_

#include "model_settings.h"

namespace model {{

constexpr int kTestInputs = {inputs};
constexpr int kTestScores = {outputs};
extern const Input kTestImage[kTestInputs];
extern const Output kTestOutputs[kTestScores];

}}  // namespace model

#endif  // MODEL_TEST_IMAGE_H_
"""
_MAIN = """// Runs the test image; returns 0 if all scores are within one rounding step.
#include <cmath>
#include <cstdint>

#include "model_data.h"
#include "model_operators.h"
#include "model_settings.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "test_image.h"

namespace {

alignas(16) uint8_t arena[model::kArenaBytes];

}  // namespace

int RunTestImage() {
  tflite::MicroMutableOpResolver<model::kOperators> resolver;
  if (model::AddOperators(resolver) != kTfLiteOk) return 1;
  tflite::MicroInterpreter interpreter(tflite::GetModel(model::kData), resolver,
                                       arena, model::kArenaBytes);
  if (interpreter.AllocateTensors() != kTfLiteOk) return 2;
  model::Input* input = interpreter.typed_input_tensor<model::Input>(0);
  for (int i = 0; i < model::kTestInputs; ++i) input[i] = model::kTestImage[i];
  if (interpreter.Invoke() != kTfLiteOk) return 3;
  const model::Output* output =
      interpreter.typed_output_tensor<model::Output>(0);
  const float step = model::kOutputScale > 0.0f ? model::kOutputScale : 1e-5f;
@best@  for (int i = 0; i < model::kTestScores; ++i) {
    const float difference =
        model::Score(output[i]) - model::Score(model::kTestOutputs[i]);
    if (std::fabs(difference) > 1.5f * step) return 4;
@finding@  }
@telling@  return 0;
}

int main() { return RunTestImage(); }
"""
_BEST = "    if (output[i] > output[best]) best = i;\n"
_TELL_BEST = """  MicroPrintf("%s, as expected; arena %u bytes", model::kLabels[best],
              static_cast<unsigned>(interpreter.arena_used_bytes()));
"""
_TELL_ALL = """  for (int i = 0; i < model::kClasses; ++i) {
    if (model::Has(output[i], i)) MicroPrintf("label %s", model::kLabels[i]);
  }
  MicroPrintf("labels as expected; arena %u bytes",
              static_cast<unsigned>(interpreter.arena_used_bytes()));
"""
