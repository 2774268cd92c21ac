"""The table of deployment targets.

To add a target, add a row here and, if its toolchain is new, one module in `toolchains`,
which `Target.toolchain` names and which is imported on use. The module must have
    prove(job) -> job.Proof     runs the file of `job.export()` in the target's own runtime
                                on `job.file_inputs(exported)`; raises `ExportError` if the
                                target cannot run it, with the operators' names and what to
                                change
    snippet(job, exported) -> str  returns Markdown for the folder's README: code that runs
                                the file
and may have
    write(job, proof)           writes further files into `job.folder`
A target without a toolchain is written with `--unproven` only. This module imports nothing
heavy.
"""

from typing import Any

from keras_resnets.deploy.target import Target
from keras_resnets.errors import check_choice
from keras_resnets.export.tflite.storage import STORAGES

# Name of an unquantized file, used like the names of the quantization recipes.
FLOAT32 = "float32"
INT8 = "static_wi8_ai8"
INT8_KINDS = (INT8, "static_wi8_ai8_per_tensor")
FLOATS = (FLOAT32, "float16", "dynamic_wi8")
# Source: Coral, "TensorFlow models on the Edge TPU", Table 1, runtime 16.
_EDGE_TPU = frozenset(
    "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS "
    "FULLY_CONNECTED L2_NORMALIZATION LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK "
    "PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE "
    "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT "
    "SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TRANSPOSE".split()
)
_RECIPES = (*INT8_KINDS, "static_wi8_ai16", "static_wi4_ai8", *FLOATS)


# Further files in the folder of a web page.
_PAGE = ("index.html", "*.js", "style.css", "package.json")


def _ethos_u(name: str, system: str, mode: str) -> Target:
    """Returns the row of an Arm NPU.

    Args:
        name: name of the target, which is Vela's name of the accelerator.
        system: system configuration of Vela's `Arm/vela.ini`.
        mode: memory mode of `Arm/vela.ini`.
    """
    return Target(
        name=name,
        title=f"Arm {name.replace('ethos-u', 'Ethos-U')} NPU",
        recipes=(*INT8_KINDS, "static_wi4_ai8"),
        refused={
            "static_wi8_ai16": "its input and output are float32, and the CPU would "
            "run their QUANTIZE and DEQUANTIZE",
            **dict.fromkeys(FLOATS, "the NPU computes in integers only"),
        },
        io_dtypes=("int8", "uint8"),
        layouts=(True, False),
        storages=("int8",),
        no_storage="Vela does not support 4-bit weights and crashes on them",
        no_photos="the resize computes in floats, which the NPU does not support",
        toolchain="ethos_u",
        proof="Vela (ethos-u-vela), which compiles and counts cycles",
        module="ethosu",
        install='pip install "keras-resnets[ethos-u]"',
        files=("model_vela.tflite",),
        settings={"accelerator": name, "system_config": system, "memory_mode": mode},
        exact=True,
        memory={"ram": "sram_bytes", "flash": "flash_bytes"},
    )


def _own_python(variable: str, packages: str) -> str:
    """Returns the commands that install a toolchain into its own environment."""
    return (
        f"python -m venv own; own/bin/pip install {packages}; export "
        f"{variable}=$PWD/own/bin/python"
    )


_MEDIAPIPE: dict[str, Any] = {
    "pixels": True,
    "photos": True,
    "toolchain": "image_classifier",
    "proof": "MediaPipe's ImageClassifier in Python, which runs the same C++ code",
    "takes": "MediaPipe",
    "variable": "KERAS_RESNETS_MEDIAPIPE_PYTHON",
    "imports": ("mediapipe",),
    "install": _own_python("KERAS_RESNETS_MEDIAPIPE_PYTHON", "mediapipe==1.2.3"),
}
_OWN_RANGES = "on which its toolchain calibrates the file"
_ALL = (
    Target(
        name="linux-x86",
        title="Linux on x86-64, LiteRT",
        recipes=_RECIPES,
        storages=STORAGES,
        photos=True,
        toolchain="local_runtime",
        proof="LiteRT with XNNPACK, here",
    ),
    Target(
        name="raspberry-pi",
        title="Raspberry Pi 4 and 5, 64-bit Linux, LiteRT",
        recipes=_RECIPES,
        storages=STORAGES,
        photos=True,
        toolchain="raspberry_pi",
        proof="LiteRT's aarch64 wheel under qemu-user, as Cortex-A72 and A76",
        program="qemu-aarch64-static",
        variable="KERAS_RESNETS_ARM64",
        holds=("usr/bin/python3.11", "site/ai_edge_litert"),
        install="apt install qemu-user-static, and set KERAS_RESNETS_ARM64 to a folder "
        "with an arm64 Python (docs/targets.md)",
        files=("run.py",),
        # CPU part and variant in /proc/cpuinfo, by QEMU's name of the processor.
        settings={
            "processors": {
                "cortex-a72": ("0xd08", "0x0"),
                "cortex-a76": ("0xd0b", "0x4"),
            }
        },
    ),
    Target(
        name="microcontroller",
        title="microcontroller, TensorFlow Lite Micro",
        recipes=(*INT8_KINDS, "static_wi8_ai16", "static_wi4_ai8", FLOAT32),
        refused={
            "float16": "TensorFlow Lite Micro does not support float16 weights "
            "(DEQUANTIZE)",
            "dynamic_wi8": "TensorFlow Lite Micro does not support int8 weights with "
            "float activations (CONV_2D, FULLY_CONNECTED)",
        },
        # Packing adds zeros, which plain loops multiply like other values.
        layouts=(False,),
        float_pixels=False,
        no_photos="the resize computes in floats, and a photo does not fit into its RAM",
        toolchain="microcontroller",
        proof="TensorFlow Lite Micro (tflite-micro)",
        module="tflite_micro",
        install='pip install "keras-resnets[microcontroller]"',
        files=("model_*.h", "model_*.cc", "test_image.h", "test_image.cc", "main.cc"),
        exact=True,
        memory={"ram": "arena_bytes", "flash": "flash_bytes"},
    ),
    _ethos_u("ethos-u55-64", "Ethos_U55_Deep_Embedded", "Shared_Sram"),
    _ethos_u("ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    _ethos_u("ethos-u55-256", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    _ethos_u("ethos-u65-256", "Ethos_U65_High_End", "Dedicated_Sram"),
    _ethos_u("ethos-u65-512", "Ethos_U65_High_End", "Dedicated_Sram"),
    _ethos_u("ethos-u85-256", "Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram"),
    _ethos_u("ethos-u85-512", "Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram"),
    _ethos_u("ethos-u85-1024", "Ethos_U85_SYS_DRAM_High", "Dedicated_Sram"),
    Target(
        name="edgetpu",
        title="Google Coral, Edge TPU",
        refused={
            **dict.fromkeys(FLOATS, "the Edge TPU computes in integers only"),
            "static_wi8_ai16": "the Edge TPU supports 8-bit activations only",
            "static_wi4_ai8": "the Edge TPU supports 8-bit weights only",
        },
        recipes=INT8_KINDS,
        io_dtypes=("uint8", "int8"),
        layouts=(False,),
        operators=_EDGE_TPU,
        checks="edge_tpu",
        proof="this package cannot run Google's edgetpu_compiler; it checks operators, "
        "types and shapes against Coral's table",
    ),
    Target(
        name="esp32",
        title="Espressif ESP32-S3 and P4, ESP-DL",
        format="onnx",
        recipes=(FLOAT32,),
        export=(("layout", "nchw"),),
        toolchain="chip_quantizer",
        proof="ESP-PPQ (esp-ppq), which quantizes model.onnx and simulates the result",
        takes="ESP-PPQ",
        variable="KERAS_RESNETS_ESP_PYTHON",
        imports=("esp_ppq",),
        install=_own_python("KERAS_RESNETS_ESP_PYTHON", "esp-ppq==1.3.12 torch"),
        files=("model.espdl", "model.info", "model.json"),
        settings={
            "worker": "esp32_worker",
            "package": "esp-ppq",
            "chip": "esp32s3",
            "writes": ("model.espdl", "model.info", "model.json"),
        },
        no_pixels=_OWN_RANGES,
        quantizes=True,
    ),
    Target(
        name="rockchip",
        title="Rockchip RK3588 NPU, RKNN",
        format="onnx",
        recipes=(FLOAT32,),
        export=(("layout", "nchw"),),
        toolchain="chip_quantizer",
        proof="the simulator of rknn-toolkit2, which quantizes model.onnx",
        takes="rknn-toolkit2",
        variable="KERAS_RESNETS_RKNN_PYTHON",
        imports=("rknn",),
        install=_own_python("KERAS_RESNETS_RKNN_PYTHON", "rknn-toolkit2==2.5.0"),
        files=("model.rknn",),
        settings={
            "worker": "rockchip_worker",
            "package": "rknn-toolkit2",
            "chip": "rk3588",
            "writes": ("model.rknn",),
        },
        no_pixels=_OWN_RANGES,
        quantizes=True,
    ),
    Target(
        name="coreml",
        title="iPhone, iPad and Mac, Core ML",
        format="saved_model",
        recipes=(FLOAT32,),
        no_pixels="which coremltools does not convert",
        toolchain="core_ml",
        proof="coremltools, which converts saved_model; only a Mac can run the result",
        takes="coremltools",
        variable="KERAS_RESNETS_COREML_PYTHON",
        imports=("coremltools",),
        install=_own_python(
            "KERAS_RESNETS_COREML_PYTHON", "coremltools==9.0 tensorflow"
        ),
        files=(
            "saved_model/*",
            "saved_model/variables/*",
            "saved_model/assets/*",
            "model.mlpackage/*",
            "model.mlpackage/Data/*",
            "model.mlpackage/Data/com.apple.CoreML/*",
            "model.mlpackage/Data/com.apple.CoreML/weights/*",
        ),
    ),
    Target(
        name="server-onnx",
        title="server, ONNX Runtime, any batch",
        format="onnx",
        recipes=(FLOAT32, "float16", INT8),
        batch="dynamic",
        toolchain="local_runtime",
        proof="ONNX Runtime, here",
        module="onnxruntime",
        install='pip install "keras-resnets[onnx]"',
    ),
    Target(
        name="server-savedmodel",
        title="server, TensorFlow Serving, any batch",
        format="saved_model",
        recipes=(FLOAT32,),
        batch="dynamic",
        toolchain="local_runtime",
        proof="TensorFlow, here",
        files=("saved_model/*", "saved_model/variables/*", "saved_model/assets/*"),
    ),
    Target(
        name="gpu",
        title="GPU of phones, LiteRT's accelerator",
        recipes=("float16", FLOAT32, INT8, "static_wi8_ai8_per_tensor"),
        refused={
            "static_wi8_ai16": "the accelerator refuses it or crashes",
            "dynamic_wi8": "the accelerator computes it in floats, the CPU in integers",
        },
        io_dtypes=("float32",),
        storages=("int8",),
        # The accelerator ignores the stride of 1x1 convolutions of int8 weights.
        export=(("pooled_strides", True),),
        toolchain="gpu",
        proof="LiteRT's GPU accelerator, on SwiftShader or a GPU",
        tools="gpu_tools",
        within=0.02,
    ),
    Target(
        name="android",
        title="Android, MediaPipe's ImageClassifier",
        recipes=(INT8, "static_wi8_ai8_per_tensor", FLOAT32, "float16"),
        io_dtypes=("uint8", "float32"),
        export=(("metadata", True),),
        **_MEDIAPIPE,
    ),
    Target(
        name="ios",
        title="iPhone and iPad, MediaPipe's ImageClassifier",
        recipes=(INT8, "static_wi8_ai8_per_tensor", FLOAT32, "float16"),
        io_dtypes=("uint8", "float32"),
        export=(("metadata", True),),
        **_MEDIAPIPE,
    ),
    Target(
        name="browser-litert",
        title="web page, LiteRT.js",
        recipes=(INT8, "static_wi8_ai8_per_tensor", FLOAT32, "float16"),
        # LiteRT.js does not support int8 tensors.
        io_dtypes=("float32", "uint8"),
        no_photos="the page crops and resizes photos of any size itself",
        toolchain="browser",
        proof="LiteRT.js in headless Chromium",
        tools="browser_tools",
        files=_PAGE,
    ),
    Target(
        name="browser-onnx",
        title="web page, ONNX Runtime Web",
        format="onnx",
        recipes=(FLOAT32, INT8),
        no_photos="the page crops and resizes photos of any size itself",
        toolchain="browser",
        proof="ONNX Runtime Web in headless Chromium",
        tools="browser_tools",
        files=_PAGE,
    ),
)
TARGETS = {target.name: target for target in _ALL}


def find(name: str) -> Target:
    """Returns the target of a name.

    Raises:
        InvalidArgument: there is no such target.

    Example:
        >>> find("linux-x86").format
        'tflite'
    """
    check_choice("target", name, tuple(TARGETS))
    return TARGETS[name]


def record(target: Target) -> dict[str, Any]:
    """Returns a target as plain values, for JSON."""
    return {
        "name": target.name,
        "title": target.title,
        "format": target.format,
        "recipes": list(target.recipes),
        "io_dtypes": list(target.io_dtypes) if target.format == "tflite" else [],
        "batch": target.batch,
        "proof": target.proof if target.toolchain else None,
        "install": target.install or None,
        "missing": target.missing(),
    }
