"""The files that `write.py` makes with other people's tools, and what is in each."""

# The arguments that make timm's ResNet-18 small, and ours.
SMALL = {"channels": (8, 16, 24, 32)}
OURS = {"filters": SMALL["channels"]}
CLASSES = 6
# The arguments that make ResNet-50 of transformers small, and ours.
HUGGING_FACE = {
    "embedding_size": 8,
    "hidden_sizes": [16, 32, 48, 64],
    "depths": [1, 2, 1, 1],
    "layer_type": "bottleneck",
    "num_labels": CLASSES,
}
OURS_50 = {"stem_filters": 8, "filters": (4, 8, 12, 16), "depths": (1, 2, 1, 1)}
# File with a classifier -> words of the note that its loading must give; "" for none.
FILES = {
    "safetensors.safetensors": "",
    "torch.pth": "",
    "legacy.pth": "",
    "half.safetensors": "",
    "timm_hub/model.safetensors": "",
    "timm_hub/pytorch_model.bin": "",
    "timm_train/last.pth.tar": r"state_dict_ema is used",
    "hub_mixin/model.safetensors": "",
    "transformers/model.safetensors": "",
    "transformers_early": "",
    "transformers_early/model.safetensors": "",
    "transformers_parts": "",
    "pruned.pth": "",
    "loss.ckpt": r"1 tensor outside state_dict.backbone is ignored \(criterion.weight\)",
    "lightning.ckpt": "",
    "ddp.pth.tar": "",
    "data_parallel.pt": "",
    "compiled.safetensors": "",
    "compiled_ddp": "",
    "reference.pth": r"model_ema.module is used",
    "averaged.pth": "",
    "model_state.ckpt": "",
    "torch.h5": "",
    "safetensors.weights.h5": "",
    "safetensors_without_suffix": "",
    "dropout_head.pth": "",
    "beside.safetensors": "",
    "no_bias.pth": "",
}
# File without a linear classifier -> words of the note.
HEADLESS = {
    "features.safetensors": "",
    "children.pth": "",
    "mlp_head.pth": r"head \(fc.0, fc.2\) is not a linear classifier",
    "moco.pth.tar": r"module.encoder_q is used",
    "dino.pth": r"teacher.backbone is used",
    "detector.pth": r"\d tensors? outside backbone.body (is|are) ignored",
}
# File -> words of the error.
REFUSED = {
    "nan.pth": "bn1.running_mean contains NaN",
    "infinite.safetensors": "conv1.weight contains infinite",
    "huge.pth": "conv1.weight contains numbers beyond the range of float32",
    "complex.pth": "conv1.weight contains complex64",
    "complex.safetensors": "conv1.weight contains C64|conv1.weight contains complex64",
    "quantized.pth": "conv1.weight contains quantized",
    "float8.safetensors": "conv1.weight contains F8_E4M3",
    "float8.pth": "conv1.weight contains float8_e4m3fn",
    "int8.safetensors": "conv1.weight contains int8",
    "spectral.pth": "remove_parametrizations",
    "weight_norm.pth": r"fc.weight_g: .*remove_weight_norm",
    "two.pth": r"2 networks \(a, b\)",
    "whole_model.pth": r"not a tensor: refused; .* write torch.save\(model.state_dict",
    "script.pt": r"a program of TorchScript \(torch.jit.save\): write torch.save",
}
# Folder that KerasHub writes -> its network; `ours` is our name of it.
PRESET_FILTERS = (64, 8, 12, 16)
PRESETS = {
    "hub/resnet_18": {"ours": "resnet18", "depths": (2, 2, 2, 2), "unit": "basic"},
    "hub/resnet_34": {"ours": "resnet34", "depths": (3, 4, 6, 3), "unit": "basic"},
    "hub/resnet_50": {"ours": "resnet50", "depths": (3, 4, 6, 3), "unit": "bottleneck"},
    "hub/resnet_101": {
        "ours": "resnet101",
        "depths": (3, 4, 23, 3),
        "unit": "bottleneck",
    },
    "hub/resnet_v2_50": {
        "ours": "resnet50v2",
        "depths": (3, 4, 6, 3),
        "unit": "bottleneck",
        "second": True,
    },
    "hub/resnet_vd_18": {
        "ours": "resnet18_vd",
        "depths": (2, 2, 2, 2),
        "unit": "basic",
        "vd": True,
    },
    "hub/resnet_vd_34": {
        "ours": "resnet34_vd",
        "depths": (3, 4, 6, 3),
        "unit": "basic",
        "vd": True,
    },
    "hub/resnet_vd_50": {
        "ours": "resnet50d",
        "depths": (3, 4, 6, 3),
        "unit": "bottleneck",
        "vd": True,
    },
    "hub/resnet_vd_200": {
        "ours": "resnet200_vd",
        "depths": (3, 12, 48, 3),
        "unit": "bottleneck",
        "vd": True,
    },
}
