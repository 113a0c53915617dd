"""A page for each family of backbones, from the records in ``featx/backbones/data``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from featx.backbones.records import KerasRecord, imagenet_top1, read_records

#: What a family is known for, and when to choose it.
_DESCRIPTIONS = tomllib.loads(Path(__file__).with_name("families.toml").read_text(encoding="utf-8"))
#: Libraries whose networks are backbones by name.
_LIBRARIES = tomllib.loads(Path(__file__).with_name("libraries.toml").read_text(encoding="utf-8"))
_SCALING = {
    "tf": "`tf`: from −1 to 1",
    "torch": "`torch`: (pixel − mean) / standard deviation of ImageNet, for each channel",
    "caffe": "`caffe`: blue, green, red, minus the mean of ImageNet",
    "none": "`none`: the network scales pixels itself",
}
_INDEX = """\
# Backbones

Every network of `keras.applications` is a backbone by its name. Choose one by measuring:
[rank](../../user_guide/ranking.md) many, then [compare](../../user_guide/comparing.md) a few. `featx backbones` prints
this list with the speed on this machine. The size is that of the weights, 4 bytes for each parameter; the accuracy is
ImageNet top-1 accuracy, as Keras publishes it.

| family | backbones | features | size, MB | ImageNet | license |
|---|---|---|---|---|---|
"""
_OTHERS = """\

Besides networks of Keras:

- `color_histogram` needs no network: 512 features, the square roots of the shares of 8 × 8 × 8 colors. It is a control:
  if it scores as well as a network, color alone separates the classes.
- Networks of [timm](timm.md), [torchvision](torchvision.md) and [open_clip](open_clip.md) are backbones by name, with
  an extra: `featx backbones --search dino` lists them.
- Ready-made ONNX networks of the Hugging Face Hub are `hf://ORGANIZATION/MODEL/PATH.onnx`, optionally with `@REVISION`;
  size, resize and scaling come from the `preprocessor_config.json` next to them, by the rules of the class of image
  processors that it names; other classes and unknown keys are an error. They need the extra `hub`.
- [Model files](../../user_guide/custom_backbones.md) of Keras, ONNX and OpenVINO are backbones by their path.
- Backbones in Python: see `register_backbone`.

The license is the one under which the authors publish the weights, as far as it is known. The images of ImageNet, on
which all of them were trained, are for non-commercial research.

```{toctree}
:hidden:

"""


def pages() -> dict[str, str]:
    """Return the text of each page by its name below ``docs/reference``."""
    families = _families()
    texts = {f"backbones/{slug(family)}.md": _family_page(family, records) for family, records in families.items()}
    rows = [_index_row(family, records) for family, records in families.items()]
    texts |= {f"backbones/{name}.md": _library_page(fields) for name, fields in _LIBRARIES.items()}
    names = "".join(f"{name}\n" for name in (*map(slug, families), *_LIBRARIES))
    return {"backbones/index.md": f"{_INDEX}{''.join(rows)}{_OTHERS}{names}```\n", **texts}


def _library_page(fields: dict[str, str]) -> str:
    extra, example = fields["extra"], fields["example"]
    shown = f"of the configuration of the weights: `featx backbones {example}` shows them"
    weights = f'{fields["downloads"]}; or a checkpoint as `weights="file.safetensors"` (or `.pth` without code)'
    return f"""\
# {fields["title"]}

{fields["text"].strip()}

| property | value |
|---|---|
| Install | `pip install 'featx[{extra}]'` |
| Size, resize and scaling | {shown}; `image_size=`, `resize=` and `preprocessing=` override them |
| License of the weights | {fields["license"]} |
| Weights | {weights} |
| Source | {fields["source"]} |

A child process builds the network with torch, converts it once, and ends. After that, neither torch nor the library is
imported. Rows in float32 equal those of the library on its own transform of the same pixels within 1e-3. Its pixels
may differ for JPEG images of more than about three times the size of the input, which featx decodes at a reduced size,
and for images with an EXIF orientation, a color profile or transparency: see [pixels](../../explanation/pixels.md).

## Pooling

`pooling="native"`, the default, is the input of the network's own head. `"avg"` and `"max"` pool the positions of
the image, without class and register tokens; `"cls"` is the class token.

| networks | native pooling | what their authors evaluate |
|---|---|---|
{fields["pooling"].strip()}

Layers are the blocks of the network by the names of its modules, or by relative depth: `layer=0.75`. Of a layer before
the last, `"native"` is the class token if the head uses it, and the mean otherwise.

```text
featx backbones {example} --layers
featx compare photos/ --backbone mobilenet --backbone {example}
```

See also: [how to choose a backbone](../../how_to/choose_a_backbone.md).
"""


def slug(family: str) -> str:
    """Return the file name of a family, without suffix."""
    return re.sub(r"(?<=[a-z])V(?=\d)", "_v", family).lower().replace("-", "_")


def _families() -> dict[str, list[KerasRecord]]:
    """Return the records of each family, the smallest network first."""
    families: dict[str, list[KerasRecord]] = {}
    for record in read_records():
        families.setdefault(record.family, []).append(record)
    return {family: sorted(families[family], key=lambda record: record.n_parameters) for family in sorted(families)}


def _index_row(family: str, records: Sequence[KerasRecord]) -> str:
    cells = [
        f"[{family}]({slug(family)}.md)",
        str(len(records)),
        _span([record.n_channels for record in records], ",d"),
        _span([_megabytes(record) for record in records], ",.0f"),
        _span([_accuracy(record) for record in records], ".3f"),
        records[0].license,
    ]
    return f"| {' | '.join(cells)} |\n"


def _span(values: Sequence[float], spec: str) -> str:
    low, high = format(min(values), spec), format(max(values), spec)
    return low if low == high else f"{low} – {high}"


def _megabytes(record: KerasRecord) -> float:
    return 4 * record.n_parameters / 1e6


def _accuracy(record: KerasRecord) -> float:
    accuracy = imagenet_top1(record.name)
    if accuracy is None:
        raise ValueError(f"imagenet_top1.csv has no accuracy of {record.name}.")
    return accuracy


def _family_page(family: str, records: Sequence[KerasRecord]) -> str:
    first = records[0]
    default = next((record for record in records if record.bundled_file), records[0])
    return f"""\
# {family}

{_DESCRIPTIONS[family]}

| backbone | features | image size (min.) | parameters | size, MB | ImageNet | default layer |
|---|---|---|---|---|---|---|
{"".join(_network_row(record) for record in records)}
| property | value |
|---|---|
| Pixels | {_SCALING[first.preprocessing]} |
| Trained on | {"; ".join(_training_data(records))} |
| License of the weights | {first.license} |
| Weights | {_availability(records)} |
| Origin | <{first.origin_url}> |
| Paper | <{first.paper}> |

In Python, as features for scikit-learn:

```python
from featx import FeatureExtractor

extractor = FeatureExtractor("{default.name}")
```

On the command line:

```text
featx extract photos/ --backbone {default.name} -o features.npy
featx backbones {default.name} --layers
```
"""


def _network_row(record: KerasRecord) -> str:
    cells = [
        f"`{record.name}`",
        f"{record.n_channels:,}",
        f"{record.image_size} ({record.min_image_size})",
        f"{record.n_parameters:,}",
        f"{_megabytes(record):,.0f}",
        f"{_accuracy(record):.3f}",
        f"`{record.layer}`",
    ]
    return f"| {' | '.join(cells)} |\n"


def _training_data(records: Sequence[KerasRecord]) -> list[str]:
    """Return what the networks were trained on, with their names if it differs."""
    by_data: dict[str, list[str]] = {}
    for record in records:
        by_data.setdefault(record.pretraining_data, []).append(f"`{record.name}`")
    if len(by_data) == 1:
        return list(by_data)
    return [f"{data} ({', '.join(names)})" for data, names in by_data.items()]


def _availability(records: Sequence[KerasRecord]) -> str:
    bundled = [f"`{record.name}`" for record in records if record.bundled_file]
    download = "downloaded once from the Keras server, or read from its folder (`~/.keras/models`)"
    return f"{', '.join(bundled)}: included; others: {download}" if bundled else download
