"""Files as trainers and hubs write them: prefixes, dicts around the network, averages.

Each function writes some files and returns the module whose outputs each must give.
"""

import argparse
import copy
import logging
import tempfile
import warnings

import huggingface_hub
import pytorch_lightning
import safetensors.torch
import transformers
from foreign import catalogue
from foreign.networks import filled
from foreign.networks import network
from foreign.tools import timm
from foreign.tools import torch

nn = torch.nn


def plain(folder):
    model = network()
    state = model.state_dict()
    for name in ("safetensors.safetensors", "safetensors.weights.h5"):
        safetensors.torch.save_file(state, folder / name)
    safetensors.torch.save_file(state, folder / "safetensors_without_suffix")
    for name in ("torch.pth", "torch.h5"):
        torch.save(state, folder / name)
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    names = "safetensors.safetensors safetensors.weights.h5 safetensors_without_suffix"
    return dict.fromkeys([*names.split(), "torch.pth", "torch.h5", "legacy.pth"], model)


def half(folder):
    model = network().half()
    safetensors.torch.save_file(model.state_dict(), folder / "half.safetensors")
    return {"half.safetensors": model}


def timm_hub(folder):
    model = network()
    timm.models.save_for_hf(model, folder / "timm_hub", safe_serialization="both")
    names = ("timm_hub/model.safetensors", "timm_hub/pytorch_model.bin")
    return dict.fromkeys(names, model)


def timm_train(folder):
    """The checkpoint of timm's train.py, whose average has other values."""
    model, average = network(), network("average.")
    ema = timm.utils.ModelEmaV3(model)
    ema.module = average
    (folder / "timm_train").mkdir(exist_ok=True)
    saver = timm.utils.CheckpointSaver(
        model,
        stepped(model),
        args=argparse.Namespace(model="resnet18", lr=0.1),
        model_ema=ema,
        checkpoint_dir=str(folder / "timm_train"),
        recovery_dir=str(folder / "timm_train"),
    )
    saver.save_checkpoint(3, metric=71.5)
    return {"timm_train/last.pth.tar": average}


def stepped(model):
    """An optimizer with a state: it made a step of rate 0."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    model(torch.zeros(1, 3, 64, 64)).sum().backward()
    optimizer.step()
    return optimizer


class HubNet(nn.Module, huggingface_hub.PyTorchModelHubMixin):
    """A module of a user who shares it on the hub."""

    def __init__(self):
        super().__init__()
        self.model = network()

    def forward(self, x):
        return self.model(x)


def hub_mixin(folder):
    model = HubNet()
    model.save_pretrained(folder / "hub_mixin")
    return {"hub_mixin/model.safetensors": model}


class Logits(nn.Module):
    """The logits of a network of transformers."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x).logits


def hugging_face(folder):
    """transformers' own ResNet, as its `save_pretrained` writes it."""
    transformers.utils.logging.disable_progress_bar()
    config = transformers.ResNetConfig(**catalogue.HUGGING_FACE)
    model = filled(transformers.ResNetForImageClassification(config))
    model.save_pretrained(folder / "transformers")
    model.save_pretrained(folder / "transformers_parts", max_shard_size="60KB")
    config.downsample_in_bottleneck = True
    early = filled(transformers.ResNetForImageClassification(config))
    early.save_pretrained(folder / "transformers_early")
    return {
        "transformers/model.safetensors": Logits(model),
        "transformers_parts": Logits(model),
        **dict.fromkeys(
            ("transformers_early", "transformers_early/model.safetensors"),
            Logits(early),
        ),
    }


def pruned(folder):
    """As `torch.nn.utils.prune` leaves a network that is still to be trained."""
    model = network()
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            torch.nn.utils.prune.l1_unstructured(module, "weight", 0.5)
    torch.save(model.state_dict(), folder / "pruned.pth")
    return {"pruned.pth": model}


class LightningNet(pytorch_lightning.LightningModule):
    """A user's module; its names begin with `net.`."""

    def __init__(self, rate=0.001):
        super().__init__()
        self.save_hyperparameters()
        self.net = network()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        return self(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.rate)


def lightning(folder):
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    model = LightningNet()
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as work:
        warnings.simplefilter("ignore")
        trainer = pytorch_lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=work,
        )
        trainer.fit(model, torch.utils.data.DataLoader(torch.ones(2, 3, 64, 64)))
        trainer.save_checkpoint(folder / "lightning.ckpt")
    return {"lightning.ckpt": model.eval()}


def parallel(folder):
    """As the ImageNet example of PyTorch writes them, with one process of its own."""
    model = network()
    optimizer = stepped(model)
    with tempfile.NamedTemporaryFile() as file:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{file.name}.init", rank=0, world_size=1
        )
        wrapped = nn.parallel.DistributedDataParallel(model)
        record = {"epoch": 3, "arch": "resnet18", "best_acc1": torch.tensor(71.5)}
        record |= {
            "state_dict": wrapped.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        torch.save(record, folder / "ddp.pth.tar")
        both = nn.parallel.DistributedDataParallel(torch.compile(model))
        torch.save(both.state_dict(), folder / "compiled_ddp")
        torch.distributed.destroy_process_group()
    torch.save(nn.DataParallel(model).state_dict(), folder / "data_parallel.pt")
    compiled = torch.compile(model).state_dict()
    safetensors.torch.save_file(compiled, folder / "compiled.safetensors")
    names = "ddp.pth.tar compiled_ddp data_parallel.pt compiled.safetensors"
    return dict.fromkeys(names.split(), model)


def reference(folder):
    """The checkpoint of torchvision's training reference, and torch's own average."""
    model = network()
    averaged = torch.optim.swa_utils.AveragedModel(network("average."))
    optimizer = stepped(model)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 30)
    record = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "epoch": 3,
        "args": argparse.Namespace(model="resnet18", lr=0.1),
        "model_ema": averaged.state_dict(),
        "scaler": {"scale": 65536.0, "growth_factor": 2.0},
    }
    torch.save(record, folder / "reference.pth")
    torch.save(averaged.state_dict(), folder / "averaged.pth")
    torch.save({"model_state": model.state_dict()}, folder / "model_state.ckpt")
    return {
        "reference.pth": averaged.module,
        "averaged.pth": averaged.module,
        "model_state.ckpt": model,
    }


class Beside(nn.Module):
    """A classifier beside its backbone."""

    def __init__(self):
        super().__init__()
        self.backbone = timm_features()
        self.classifier = nn.Linear(32, 6)

    def forward(self, x):
        return self.classifier(self.backbone(x))


def timm_features():
    return network(num_classes=0)


def heads(folder):
    """Heads that users put on."""
    dropped, bare, beside = network(), network(), filled(Beside())
    dropped.fc = filled(nn.Sequential(nn.Dropout(0.5), nn.Linear(32, 6)), "dropped.")
    bare.fc = nn.Linear(32, 6, bias=False)
    torch.save(dropped.state_dict(), folder / "dropout_head.pth")
    torch.save(bare.state_dict(), folder / "no_bias.pth")
    safetensors.torch.save_file(beside.state_dict(), folder / "beside.safetensors")
    state = {**beside.state_dict(), "criterion.weight": torch.ones(6)}
    torch.save({"state_dict": state}, folder / "loss.ckpt")
    return {
        "loss.ckpt": beside,
        "dropout_head.pth": dropped,
        "no_bias.pth": bare,
        "beside.safetensors": beside,
    }


def headless(folder):
    """Networks without a classifier; their outputs are the pooled features."""
    features = timm_features()
    safetensors.torch.save_file(features.state_dict(), folder / "features.safetensors")
    deep = copy.deepcopy(features)
    deep.fc = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 6))
    torch.save(deep.state_dict(), folder / "mlp_head.pth")
    children = nn.Sequential(*list(features.children())[:-1])
    torch.save(children.state_dict(), folder / "children.pth")
    other = network("other.", num_classes=0)
    heads = nn.ModuleDict({"mlp": nn.Sequential(nn.Linear(32, 16), nn.Linear(16, 8))})
    # The names of facebookresearch/moco and /dino.
    student = nn.ModuleDict({"backbone": other, "head": heads})
    teacher = nn.ModuleDict({"backbone": features, "head": heads})
    record = {
        "student": nn.DataParallel(student).state_dict(),
        "teacher": teacher.state_dict(),
        "epoch": 3,
    }
    torch.save(record, folder / "dino.pth")
    query = network()
    moco = nn.ModuleDict({"encoder_q": query, "encoder_k": network("other.")})
    moco.register_buffer("queue", torch.ones(6, 8))
    state = nn.DataParallel(moco).state_dict()
    torch.save({"epoch": 3, "state_dict": state}, folder / "moco.pth.tar")
    query = copy.deepcopy(query)
    query.fc = nn.Identity()
    # The names of torchvision's detectors.
    body = nn.ModuleDict({"body": features, "fpn": nn.Conv2d(32, 8, 1)})
    detector = nn.ModuleDict({"backbone": body, "rpn": nn.Conv2d(8, 8, 3)})
    torch.save(detector.state_dict(), folder / "detector.pth")
    names = (
        "features.safetensors children.pth mlp_head.pth dino.pth detector.pth".split()
    )
    return {**dict.fromkeys(names, features), "moco.pth.tar": query}


WRITERS = (
    plain,
    half,
    timm_hub,
    timm_train,
    hub_mixin,
    hugging_face,
    pruned,
    lightning,
    parallel,
    reference,
    heads,
    headless,
)
