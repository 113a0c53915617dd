"""Run the benchmarks, print each ratio, and write them as Markdown and JSON.

Both sides of a row run one after the other, each in a fresh process, several times in turn; a row gives the
median of the ratios of neighbours, so that a machine whose speed drifts does not decide it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from featx.datasets.sample_images import write_sample_images
from featx.extraction.benchmarking.benchmark import measure_throughput
from featx.extraction.engines import engine as engines
from featx.extraction.options import ExtractionOptions
from featx.extraction.benchmarking.rates import processor
from featx.system.processes import n_cores

Row = dict[str, Any]
ROOT = Path(__file__).parents[2]


class Bench:
    """Photos, a cache with compiled networks, and the sides in processes of their own."""

    def __init__(self, folder: Path, runs: int, photos: Path | None = None) -> None:
        self.folder = folder
        self._photos = photos or folder
        self.runs = runs
        self._n_stores = 0

    def photos(self, number: int, width: int = 500, height: int = 375, quality: int = 85) -> list[str]:
        return write_sample_images(self._photos / f"photos-{width}x{height}", number, width, height, quality)

    def side(self, name: str, **arguments: Any) -> dict[str, Any]:
        command = [sys.executable, "-m", "tests.benchmarks.sides", name]
        done = subprocess.run(
            command, input=json.dumps(arguments), capture_output=True, text=True, check=False, cwd=ROOT
        )
        if done.returncode != 0:
            raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
        measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return measured

    def store(self, options: dict[str, Any]) -> str:
        """Return a cache without rows, in which the network is compiled."""
        self._n_stores += 1
        cache = self.folder / f"cache-{self._n_stores}"
        ExtractionOptions(**options).resolve().start(cache / "compiled")
        return str(cache)

    def featx(
        self, paths: list[str], options: dict[str, Any], cache: str | None = None, start: bool = True
    ) -> dict[str, Any]:
        cache = cache or self.store(options)
        out = str(self.folder / "f.npy")
        return self.side("featx_files", paths=paths, options=options, cache=cache, out=out, start=start)

    def ratios(self, ours: Callable[[], Row], theirs: Callable[[], Row]) -> tuple[float, Row, Row]:
        """Run both in turn; return the median of theirs/ours in seconds, and the last of each."""
        pairs = [(ours(), theirs()) for _ in range(self.runs)]
        ratio = statistics.median(their["seconds"] / our["seconds"] for our, their in pairs)
        return ratio, *pairs[-1]


def random_weights(folder: Path, application: str, name: str) -> str:
    """Save a network with random weights, for those whose weights cannot be had here."""
    path = folder / f"{name}.weights.h5"
    code = (
        "import sys, keras; keras.utils.set_random_seed(0); module, function = sys.argv[1].split('.')\n"
        "getattr(getattr(keras.applications, module), function)(include_top=False, weights=None, "
        "input_shape=(224, 224, 3)).save_weights(sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, application, str(path)], check=True, capture_output=True)
    return str(path)


def against_tf_data(bench: Bench, application: str, options: dict[str, Any], musts: dict[str, float]) -> list[Row]:
    paths = bench.photos(1000)
    rows = []
    for precision in _precisions():
        chosen = {**options, "precision": precision}
        ratio, ours, theirs = bench.ratios(
            lambda chosen=chosen: bench.featx(paths, chosen),  # type: ignore[misc]
            lambda: bench.side("tf_data", paths=paths, application=application),
        )
        what = f"cold, 1,000 JPEG of 500 × 375, {application.split('.')[1]}, {precision}: against tf.data + predict"
        measured = f"{1000 / ours['seconds']:.0f} against {1000 / theirs['seconds']:.0f} images/s"
        rows.append(_row(what, ratio, f"≥ {musts[precision]}", ratio >= musts[precision], measured))
    return rows


def _precisions() -> list[str]:
    return ["bfloat16", "float32"] if engines.has_native_bfloat16() else ["float32"]


def row_1(bench: Bench) -> list[Row]:
    return against_tf_data(bench, "mobilenet.MobileNet", {}, {"bfloat16": 5, "float32": 2})


def row_2(bench: Bench) -> list[Row]:
    weights = random_weights(bench.folder, "resnet.ResNet50", "resnet50")
    options = {"backbone": "resnet50", "weights": weights}
    return against_tf_data(bench, "resnet.ResNet50", options, {"bfloat16": 7, "float32": 1.4})


def row_3(bench: Bench) -> list[Row]:
    missing = [name for name in ("torch", "timm") if importlib.util.find_spec(name) is None]
    what = "the same against timm + torch DataLoader"
    if missing:
        return [{"what": what, "skipped": f"not installed: {', '.join(missing)}"}]
    paths = bench.photos(1000)
    ratio, ours, theirs = bench.ratios(
        lambda: bench.featx(paths, {}), lambda: bench.side("timm", paths=paths, model="mobilenetv1_100")
    )
    measured = f"{1000 / ours['seconds']:.0f} against {1000 / theirs['seconds']:.0f} images/s"
    return [_row(what, ratio, "≥ 4", ratio >= 4, measured)]


def row_4(bench: Bench) -> list[Row]:
    cache = Path(bench.store({}))
    shares = [
        measure_throughput(bench.photos(1000), [ExtractionOptions()], cache=cache).results[0] for _ in range(bench.runs)
    ]
    share = statistics.median(result.share_of_roof for result in shares)
    last = shares[-1]
    measured = f"decode {last.decode:.0f}, network {last.networks[0].images_per_second:.0f}, both {last.pipeline:.0f}/s"
    return [_row("pipeline ÷ 1 / (1 / decode + 1 / network)", share, "≥ 0.95", share >= 0.95, measured)]


def row_5(bench: Bench) -> list[Row]:
    paths = bench.photos(60, 4000, 3000, 85)
    rows = []
    for side, must in (("tf_data", 2.2), ("load_img", 5.0)):
        ratio, ours, theirs = bench.ratios(
            lambda: bench.featx(paths, {}),
            lambda side=side: bench.side(side, paths=paths, application="mobilenet.MobileNet"),  # type: ignore[misc]
        )
        measured = f"{60 / ours['seconds']:.1f} against {60 / theirs['seconds']:.1f} images/s"
        rows.append(_row(f"12-megapixel photos, against {side}", ratio, f"≥ {must}", ratio >= must, measured))
    return rows


def row_6(bench: Bench) -> list[Row]:
    paths = bench.photos(10_000, 256, 256)
    cache = bench.store({})
    cold = bench.featx(paths, {}, cache)
    warm = [bench.side("featx_rows", paths=paths, options={}, cache=cache) for _ in range(max(3, bench.runs))]
    rate = statistics.median(10_000 / run["seconds"] for run in warm)
    ratio = rate * cold["seconds"] / 10_000
    clean = all(run["computed"] == 0 and not run["imported"] for run in warm)
    measured = f"{rate:,.0f} rows/s; no network library imported: {clean}"
    return [_row("warm run, against the cold one", ratio, "≥ 100", ratio >= 100 and rate >= 50_000 and clean, measured)]


def row_7(bench: Bench) -> list[Row]:
    paths = bench.photos(1)
    runs = [bench.featx(paths, {}, start=False) for _ in range(max(3, bench.runs))]
    seconds = statistics.median(run["processor_seconds"] for run in runs)
    clean = all("tensorflow" not in run["imported"] for run in runs)
    what = "start to first features, network compiled: processor seconds"
    return [_row(what, seconds, "≤ 0.8", seconds <= 0.8 and clean, f"tensorflow never imported: {clean}")]


def rows_8_and_9(bench: Bench) -> list[Row]:
    paths = bench.photos(60_000, 128, 128)
    bench.featx(paths[:1000], {})  # the system's file cache is warm for neither
    few, many = bench.featx(paths[:1000], {}), bench.featx(paths, {})
    peak = many["peak_mb"]
    change = (many["seconds"] / 60_000) / (few["seconds"] / 1000)
    return [
        _row("peak memory at 60,000 images, MB", peak, "≤ 350", peak <= 350, f"{few['peak_mb']:.0f} MB at 1,000"),
        _row(
            "time per image at 60,000 against 1,000 images",
            change,
            "≤ 1.1",
            change <= 1.1,
            f"{60_000 / many['seconds']:.0f} against {1000 / few['seconds']:.0f} images/s",
        ),
    ]


def row_10(bench: Bench) -> list[Row]:
    paths = bench.photos(10_000, 256, 256)
    cache = bench.store({})
    cold = bench.featx(paths[:-100], {}, cache)
    added = bench.featx(paths, {}, cache)
    share = added["seconds"] / cold["seconds"]
    return [_row("adding 1 % to an extracted set, of the cold time", share, "≤ 0.03", share <= 0.03, "")]


def row_11(bench: Bench) -> list[Row]:
    ratio, ours, theirs = bench.ratios(lambda: bench.side("compare_featx"), lambda: bench.side("compare_plain"))
    apart = max(abs(ours["scores"][name] - theirs["scores"][name]) for name in ours["scores"])
    measured = f"{ours['seconds']:.1f} against {theirs['seconds']:.1f} s; scores apart by {apart:.4f} at most"
    what = "compare on 8,000 × 1,024, 100 classes, against plain cross_validate"
    return [_row(what, ratio, "≥ 4", ratio >= 4 and apart <= 0.002, measured)]


def store_growth(bench: Bench, rows: int, segments: int) -> list[Row]:
    cache = bench.folder / f"store-{rows}"
    bench.side("store_filled", cache=str(cache), rows=rows, segments=segments)
    runs = [bench.side("store_opened", cache=str(cache)) for _ in range(bench.runs)]
    shutil.rmtree(cache)
    opened, looked_up, held = (
        statistics.median(run[name] for run in runs) for name in ("seconds", "looked_up", "bytes_per_row")
    )
    where = f"{rows:,} rows in {segments:,} segments"
    must = rows == 5_000_000
    peak = f"peak memory of the process {runs[-1]['peak_mb']:.0f} MB"
    return [
        _row(f"opening a store of {where}, s", opened, "≤ 2" if must else "–", not must or opened <= 2, peak),
        _row("its index, bytes a row", held, "≤ 60", held <= 60, ""),
        _row("looking 100,000 digests up there, s", looked_up, "≤ 0.5", looked_up <= 0.5, ""),
    ]


def row_12(bench: Bench) -> list[Row]:
    sizes = [(1_000_000, 1_000), (5_000_000, 1_000), (20_000_000, 1_000)]
    return [row for rows, segments in sizes for row in store_growth(bench, rows, segments)]


def row_13(bench: Bench) -> list[Row]:
    return store_growth(bench, 100_000_000, 3_000)


def row_14(bench: Bench) -> list[Row]:
    runs = []
    for number in range(bench.runs):
        folder = bench.folder / f"matrix-{number}"
        folder.mkdir()
        runs.append(bench.side("compare_extras", folder=str(folder)))
    share = statistics.median(run["extras"] / run["seconds"] for run in runs)
    what = "duplicates, labels in doubt, learning curve and naive scores on 8,000 × 1,024, of the comparison's time"
    measured = f"{runs[-1]['extras']:.1f} beside {runs[-1]['seconds']:.1f} s"
    return [_row(what, share, "≤ 1", share <= 1, measured)]


def row_15(bench: Bench) -> list[Row]:
    known, new = bench.photos(1100)[:100], bench.photos(1100)[100:]
    cache, model = bench.store({}), str(bench.folder / "model.skops")
    bench.side("train_model", paths=known, cache=cache, out=model)
    ratio, ours, plain = bench.ratios(
        lambda: bench.side("predict", paths=new, model=model, cache=_copy(bench, cache)),
        lambda: bench.featx(new, {}, _copy(bench, cache)),
    )
    one = [bench.side("predict", paths=[new[at]], model=model, cache=_copy(bench, cache)) for at in range(bench.runs)]
    process = statistics.median(run["processor_seconds"] for run in one)
    measured = f"{1000 / ours['seconds']:.0f} against {1000 / plain['seconds']:.0f} images/s"
    return [
        _row("predictions of 1,000 JPEG, as a share of the rate of extraction", ratio, "≥ 0.9", ratio >= 0.9, measured),
        _row(
            "one prediction, seconds of process time", process, "≤ 1.5", process <= 1.5, f"{one[0]['all']:.2f} s in all"
        ),
    ]


def jobs_against(bench: Bench, n_photos: int, shard_size: int, theirs: Callable[[], Row]) -> tuple[float, Row, Row]:
    paths, cache = bench.photos(n_photos, 256, 256), bench.store({})

    def ours() -> Row:
        folder = tempfile.mkdtemp(dir=bench.folder)
        arguments = {"shard_size": shard_size, "backend": "sequential"}
        return bench.side("job", paths=paths, cache=_copy(bench, cache), folder=folder, **arguments)

    return bench.ratios(ours, theirs)


def row_16(bench: Bench) -> list[Row]:
    paths, cache = bench.photos(100_000, 256, 256), bench.store({})
    ratio, ours, plain = jobs_against(bench, 100_000, 10_000, lambda: bench.featx(paths, {}, _copy(bench, cache)))
    measured = f"{100_000 / ours['seconds']:.0f} against {100_000 / plain['seconds']:.0f} images/s"
    what = "a job of 100,000 JPEG in shards of 10,000, its worker's start counted, as a share of the rate of extraction"
    return [_row(what, ratio, "≥ 0.95", ratio >= 0.95, measured)]


def row_17(bench: Bench) -> list[Row]:
    paths, cache = bench.photos(6_000, 256, 256), bench.store({})

    def several() -> Row:
        folder = tempfile.mkdtemp(dir=bench.folder)
        arguments = {"shard_size": 1_000, "backend": "loky"}
        return bench.side("job", paths=paths, cache=_copy(bench, cache), folder=folder, **arguments)

    ratio, ours, theirs = jobs_against(bench, 6_000, 1_000, several)
    measured = f"{6_000 / ours['seconds']:.0f} against {6_000 / theirs['seconds']:.0f} images/s"
    what = "a job in one process that uses all cores, against one process for each core"
    return [_row(what, ratio, "≥ 1", ratio >= 1, measured)]


def row_18(bench: Bench) -> list[Row]:
    folder = bench.folder / "planned"
    folder.mkdir()
    paths = bench.photos(60_000, 128, 128)
    runs = [bench.side("plan", paths=paths, folder=tempfile.mkdtemp(dir=folder)) for _ in range(bench.runs)]
    rate = statistics.median(60_000 / run["seconds"] for run in runs)
    return [_row("planning a job from a CSV, paths/s", rate, "≥ 20000", rate >= 20_000, "60,000 local files")]


def row_19(bench: Bench) -> list[Row]:
    paths, cache = bench.photos(6_400, 256, 256), bench.store({})

    def in_shards_of(shard_size: int) -> float:
        arguments = {"shard_size": shard_size, "backend": "sequential", "folder": tempfile.mkdtemp(dir=bench.folder)}
        return float(bench.side("job", paths=paths, cache=_copy(bench, cache), **arguments)["seconds"])

    runs = [(in_shards_of(64) - in_shards_of(6_400)) / 99 * 1000 for _ in range(bench.runs)]
    overhead = statistics.median(runs)
    what = "what a shard costs beside its images, ms: 6,400 photos in 100 shards against one"
    return [_row(what, overhead, "≤ 50", overhead <= 50, ", ".join(f"{run:.1f}" for run in runs))]


def row_20(bench: Bench) -> list[Row]:
    done = {}
    for shards in (100, 1000):
        folder = str(bench.folder / f"done-{shards}")
        bench.side("job_done", folder=folder, shards=shards, rows=10_000, features=16)
        done[shards] = bench.side("job_merged", folder=folder, out=str(bench.folder / "merged.npy"))
    looked_at = bench.side("job_looked_at", folder=str(bench.folder / "done-1000"))
    peak, before = (done[shards]["peak_mb"] for shards in (1000, 100))
    seconds = done[1000]["seconds"]
    measured = f"{seconds:.0f} s"
    return [
        _row(
            "peak memory of merging 10⁷ rows, MB", peak, "≤ 1.1 of 10⁶", peak <= 1.1 * before, f"{before:.0f} MB at 10⁶"
        ),
        _row("merging 10⁷ rows of 16 features in 1,000 shards, rows/s", 1e7 / seconds, "–", True, measured),
        _row("status of 1,000 shards, s", looked_at["seconds"], "≤ 2", looked_at["seconds"] <= 2, ""),
        _row("open_features of them and 10 rows, s", looked_at["opened"], "≤ 2", looked_at["opened"] <= 2, ""),
    ]


def _copy(bench: Bench, cache: str) -> str:
    """Return a copy of a cache, in which the new photos are not stored yet."""
    return str(shutil.copytree(cache, tempfile.mkdtemp(dir=bench.folder), dirs_exist_ok=True))


def _row(what: str, value: float, must: str, holds: bool, measured: str) -> Row:
    return {"what": what, "value": round(float(value), 3), "must": must, "holds": bool(holds), "measured": measured}


ROWS: dict[str, Callable[[Bench], list[Row]]] = {
    "1": row_1,
    "2": row_2,
    "3": row_3,
    "4": row_4,
    "5": row_5,
    "6": row_6,
    "7": row_7,
    "8": rows_8_and_9,
    "10": row_10,
    "11": row_11,
    "12": row_12,
    "13": row_13,
    "14": row_14,
    "15": row_15,
    "16": row_16,
    "17": row_17,
    "18": row_18,
    "19": row_19,
    "20": row_20,
}


def markdown(report: dict[str, Any]) -> str:
    lines = [
        f"{report['machine']}, {report['cores']} cores",
        "",
        "| what | value | must | measured |",
        "|---|---|---|---|",
    ]
    for row in report["rows"]:
        if "skipped" in row:
            lines.append(f"| {row['what']} | – | – | skipped: {row['skipped']} |")
        else:
            value = f"{row['value']:g}{'' if row['holds'] else ' (missed)'}"
            lines.append(f"| {row['what']} | {value} | {row['must']} | {row['measured']} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    default = ",".join(row for row in ROWS if row not in ("13", "16"))
    parser.add_argument(
        "--rows", default=default, help="of 1 to 20 (8 gives 8 and 9; 13 and 16 take minutes, 8 and 2 GB)"
    )
    parser.add_argument("--runs", type=int, default=3, help="pairs of each comparison (default: 3)")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for benchmarks.md and .json (default: here)")
    parser.add_argument("--photos", type=Path, help="keep the generated photos here, for the next time")
    args = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="featx-benchmarks-") as temporary:
        bench = Bench(Path(temporary), args.runs, args.photos)
        for number in args.rows.split(","):
            found = ROWS[number](bench)
            rows += found
            for row in found:
                print(row, flush=True)
    report = {"machine": processor(), "cores": n_cores(), "rows": rows}
    (args.out / "benchmarks.json").write_text(json.dumps(report, indent=2) + "\n")
    (args.out / "benchmarks.md").write_text(markdown(report))


if __name__ == "__main__":
    main()
