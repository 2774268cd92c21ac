"""Public checkpoints and their locations: one row of `records.csv` each.

Figures come from the column `source`; `verified` says how the mapping onto this package's
network was proven: `accuracy` (measured with these weights), `value` (the original's
logits, with random weights) or `structure` (every tensor has its variable).
"""

import dataclasses
import functools
import typing

from keras_resnets.errors import InvalidArgument
from keras_resnets.errors import check_type
from keras_resnets.errors import nearest
from keras_resnets.io import package_tables
from keras_resnets.networks import idioms

if typing.TYPE_CHECKING:
    from keras_resnets.images.preprocessing import Preprocessing

# Licences that permit any use of the weights, also in a product.
FREE = ("apache-2.0", "bsd-2-clause", "bsd-3-clause", "mit", "public-domain")
DATASETS = ("imagenet", "cifar10", "cifar100")
# Files in this package, under weights/trained: no download.
SHIPPED = "package://"


@dataclasses.dataclass(frozen=True)
class Record:
    """A public checkpoint.

    Attributes:
        variant: the registry's name of the network.
        tag: what `weights=` takes; timm's where it comes from there.
        dataset: one of `DATASETS`.
        top1, top5: published accuracy in percent at `size`; None where not published.
        size: height and width in pixels that the accuracy is for.
        crop_fraction, interpolation, mode: of the `Preprocessing`; interpolation
            `"letterbox"` for darknet's.
        labels: order of the classes, see `keras_resnets.images.labels`.
        licence: SPDX identifier, or `"public-domain"`.
        verified: see this module.
        hash: `"sha256:"` or `"md5:"` and the digits that are known; else empty.
        location: URL, `hf://OWNER/NAME/FILE` on the Hugging Face hub, `hf://OWNER/NAME/`
            for a preset of KerasHub there, or `package://FILE` in this package.
        source: where the accuracy was published.
    """

    variant: str
    tag: str
    dataset: str
    top1: float
    top5: float | None
    size: int
    crop_fraction: float
    interpolation: str
    mode: str
    labels: str
    licence: str
    verified: str
    hash: str
    location: str
    source: str

    @property
    def free(self) -> bool:
        """Whether the licence permits any use of the weights."""
        return self.licence in FREE

    @property
    def shipped(self) -> bool:
        """Whether the file is a part of this package."""
        return self.location.startswith(SHIPPED)

    def preprocessing(self) -> "Preprocessing":
        """Returns the `Preprocessing` of the published accuracy."""
        from keras_resnets.images.preprocessing import Preprocessing

        boxed = self.interpolation == "letterbox"
        return Preprocessing(
            mode=self.mode,
            size=(self.size, self.size),
            crop_fraction=self.crop_fraction,
            letterbox=boxed,
            interpolation="bilinear" if boxed else self.interpolation,
        )


@functools.cache
def all_records() -> tuple[Record, ...]:
    """Returns every `Record`, in the file's order."""
    return tuple(map(_record, package_tables.rows_of(__name__, "records.csv")))


def _record(row: dict[str, str]) -> Record:
    fields: dict[str, typing.Any] = dict(row)
    fields |= {name: float(row[name]) for name in ("top1", "crop_fraction")}
    fields["top5"] = float(row["top5"]) if row["top5"] else None
    return Record(**{**fields, "size": int(row["size"])})


def records_of(variant: str) -> list[Record]:
    """Returns the records of a variant: by dataset, the default first, then by accuracy."""
    records = [record for record in all_records() if record.variant == variant]
    return sorted(
        records,
        key=lambda r: (DATASETS.index(r.dataset), not r.free, not r.shipped, -r.top1),
    )


def names_of(variant: str) -> list[str]:
    """Returns what `weights=` takes for a variant: its datasets, then its tags."""
    records = records_of(variant)
    datasets = dict.fromkeys(record.dataset for record in records if record.free)
    return [*datasets, *(record.tag for record in records)]


def find(variant: str, name: str) -> Record:
    """Returns the record of `variant` that `weights=name` selects.

    Args:
        variant: a name of the registry.
        name: a tag, or a dataset for its default among the records whose licence
            permits any use: the one in this package, else the most accurate.

    Raises:
        InvalidArgument: no such record; the message lists the existing ones.
    """
    check_type("weights", name, str, "a tag or a data set")
    records = records_of(variant)
    for record in records:
        # Tags are lower case; torchvision writes IMAGENET1K_V2.
        if name.lower() == record.tag or (
            name.lower() == record.dataset and record.free
        ):
            return record
    tags = [record.tag for record in records]
    if not tags:
        raise InvalidArgument(
            f"there are no public weights for {variant}; got weights={name!r}"
        )
    names = names_of(variant)
    idiom = idioms.for_weights(name, names)
    if idiom:
        raise InvalidArgument(f"{variant} has no weights {name!r}: {idiom}")
    near = nearest(name, tags, count=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InvalidArgument(
        f"weights of {variant} are {', '.join(names)}; got {name!r}{hint}"
    )
