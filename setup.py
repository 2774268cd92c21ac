"""Packaging: `pip install .` gives all that building and TFLite export need."""

import pathlib

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = {}
exec((HERE / "keras_resnets" / "version.py").read_text(encoding="utf-8"), VERSION)

ONNX = ["tf2onnx>=1.17,<1.18", "onnx>=1.23,<1.24", "onnxruntime>=1.32,<1.33"]
COMPRESS = [
    "tensorflow-model-optimization>=0.8.1,<0.9",
    "tf-keras>=2.21,<2.22",
    "ai-edge-quantizer>=0.10,<0.11",
]
EXTRAS = {
    "onnx": ONNX,
    "compress": COMPRESS,
    "docs": ["mkdocs-material>=9.7,<10", "mkdocstrings[python]>=1.0,<2"],
    "microcontroller": ["tflite-micro>=0.dev20261023"],
    "ethos-u": ["ethos-u-vela>=5.2,<5.3"],
    "hub": ["huggingface_hub>=0.30"],
    "report": ["matplotlib>=3.8"],
    "train": ["matplotlib>=3.8", "tensorboard>=2.19"],
    "test": [
        *ONNX,
        *COMPRESS,
        "ethos-u-vela>=5.2,<5.3",
        "huggingface_hub>=0.30",
        "jax>=0.10.2,<0.11",
        "matplotlib>=3.8",
        "mypy>=2.4,<2.5",
        "pytest>=8.4,<10",
        "pytest-xdist>=3.6,<4",
        "ruff>=0.17,<0.18",
        "scipy>=1.14",
        "tflite-micro>=0.dev20261023",
    ],
}
EXTRAS["all"] = sorted({package for extra in EXTRAS.values() for package in extra})

setuptools.setup(
    name="keras-resnets",
    version=VERSION["__version__"],
    description="The ResNet family for Keras 3: build, train, quantize, export",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=setuptools.find_packages(include=["keras_resnets", "keras_resnets.*"]),
    package_data={
        "keras_resnets": [
            "py.typed",
            "deploy/toolchains/web/*",
            "export/tflite/*.csv",
            "images/*.csv",
            "models/*.csv",
            "models/*.pyi",
            "networks/*.csv",
            "reports/*.css",
            "weights/records/*.csv",
            "weights/trained/*.safetensors",
        ]
    },
    python_requires=">=3.11",
    # The versions that the tests ran on.
    install_requires=[
        "ai-edge-litert>=2.3,<2.4",
        "h5py>=3.11",
        "keras>=3.15,<3.16",
        "ml-dtypes>=0.5",
        "numpy>=2.0,<2.5",
        "pillow>=10",
        "tensorflow>=2.21,<2.22",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["keras-resnets = keras_resnets.cli:entry_point"]},
)
