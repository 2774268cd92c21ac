"""Builds networks that no paper has: three lines each, from a relative in the table.

python examples/add_a_variant.py
"""

import keras_resnets
from keras_resnets.graph.analysis import analyze


def main():
    resnet50 = keras_resnets.get_architecture("resnet50")
    variants = {
        "as in the table": resnet50,
        "pre-activated, grouped, deep stem": resnet50.replace(
            activation_order="full_preact",
            cardinality=32,
            base_width=4,
            stem_type="deep",
        ),
        "dense features, stride 8": resnet50.replace(output_stride=8),
        "half the width": resnet50.replace(filters=(32, 64, 128, 256), stem_filters=32),
    }
    print(f"{'ResNet-50':<36}{'parameters':>12}{'M MACs':>10}{'stride':>8}")
    for label, architecture in variants.items():
        model = keras_resnets.create_model(architecture, kernel_initializer="zeros")
        found = analyze(model)
        print(
            f"{label:<36}{found.trainable_params:>12,}{found.macs / 1e6:>10,.0f}"
            f"{found.output_stride:>8g}"
        )


if __name__ == "__main__":
    main()
