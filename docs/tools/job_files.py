"""The picture of a job: its processes, the files that they write, and when a shard is done."""

from __future__ import annotations

from xml.sax.saxutils import escape

#: Path in the folder of a job, who writes it, and when.
FILES = (
    ("job.json", "client", "last step of planning: from now on, there is a job"),
    ("plan/000000-ID.parquet", "client", "paths and labels of 100 shards"),
    ("clients/TOKEN.json", "client", "while it runs the job"),
    ("quarantine/00000042.json", "client", "after shard 42 has failed three times"),
    ("suspects/00000042.json", "client", "shard 42 runs last in the next run"),
    ("heartbeats/00000042-TOKEN.json", "worker", "while it is at shard 42"),
    ("shards/00000042-CHECKSUM.npy", "worker", "first: the rows of shard 42"),
    ("shards/00000042.parquet", "worker", "last: from now on, shard 42 is done"),
)
_WIDTH, _LINE = 720, 34
_BOXES = (
    ("client", "featx job plan, run", "lists images, submits shards"),
    ("scheduler", "dask scheduler", "hands out shards"),
    ("workers", "one on each machine", "read images, run the network"),
)
#: Dark text on light boxes, and gray outside of them: readable on a light and on a dark page.
_STYLE = """\
    text { font-family: system-ui, sans-serif; font-size: 13px; fill: #16324a; }
    .name { font-weight: 600; font-size: 15px; }
    .file { font-family: ui-monospace, monospace; font-size: 12.5px; }
    .arrow { fill: none; stroke: #808080; stroke-width: 2; }
    .client { fill: #dcebf7; stroke: #5b8db8; }
    .scheduler { fill: #eeeeee; stroke: #909090; }
    .worker { fill: #fbe6cf; stroke: #c08a4a; }
    .commit { stroke-width: 3; }
"""


def svg() -> str:
    """Return the picture."""
    shapes = [shape for number, box in enumerate(_BOXES) for shape in _process(number, *box)]
    for number, (path, writer, when) in enumerate(FILES):
        shapes += _file(number, path, writer, when)
    height = 132 + _LINE * len(FILES)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="title">
  <title id="title">Files of a job. The client writes those in blue, the workers those in orange.</title>
  <style>
{_STYLE}  </style>
{chr(10).join(f"  {shape}" for shape in shapes)}
</svg>
"""


def _process(number: int, name: str, command: str, purpose: str) -> list[str]:
    width, gap = 216, 31
    left = 5 + number * (width + gap)
    texts = zip(("name", "file", "purpose"), (name, command, purpose), (28, 50, 72), strict=True)
    shapes = [
        f'<rect class="{name.removesuffix("s")}" x="{left}" y="6" width="{width}" height="78" rx="6"/>',
        *(f'<text class="{kind}" x="{left + 10}" y="{y}">{escape(text)}</text>' for kind, text, y in texts),
    ]
    if number:
        shapes.append(f'<path class="arrow" d="M {left - gap + 3} 45 h {gap - 8} m -7 -5 l 7 5 l -7 5"/>')
    return shapes


def _file(number: int, path: str, writer: str, when: str) -> list[str]:
    top = 124 + number * _LINE
    kind = f"{writer} commit" if when.startswith("last") else writer
    return [
        f'<rect class="{kind}" x="5" y="{top - 24}" width="{_WIDTH - 10}" height="{_LINE - 6}" rx="5"/>',
        f'<text class="file" x="15" y="{top - 5}">{escape(path)}</text>',
        f'<text x="275" y="{top - 5}">{escape(when)}</text>',
    ]
