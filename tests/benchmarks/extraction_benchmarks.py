"""Benchmarks of extraction: speed against peers, memory, and runs with a filled cache."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from featx.extraction.benchmarking.benchmark import measure_throughput
from featx.extraction.engines.engine import has_native_bfloat16
from featx.extraction.options import ExtractionOptions
from tests.benchmarks.harness import Environment, Measurement, at_least, at_most, benchmark, median_run, rates


def has_amx() -> bool:
    """Return whether the CPU multiplies matrices of bfloat16, several times faster than one with AVX-512 only."""
    path = Path("/proc/cpuinfo")
    return path.exists() and "amx_bf16" in path.read_text()


def random_weights(folder: Path, application: str, name: str) -> str:
    """Save a network with random weights, as pretrained ones may not be available."""
    path = folder / f"{name}.weights.h5"
    code = (
        "import sys, keras; keras.utils.set_random_seed(0); module, function = sys.argv[1].split('.')\n"
        "getattr(getattr(keras.applications, module), function)(include_top=False, weights=None, "
        "input_shape=(224, 224, 3)).save_weights(sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, application, str(path)], check=True, capture_output=True)
    return str(path)


def _against_tf_data(
    environment: Environment, name: str, application: str, options: dict[str, Any], targets: dict[str, float]
) -> list[Measurement]:
    paths = environment.photos(1000)
    measurements = []
    for precision, target in targets.items():
        if precision == "bfloat16" and not has_native_bfloat16():
            continue

        def ours(precision: str = precision) -> dict[str, Any]:
            return environment.extract(paths, {**options, "precision": precision})

        def theirs() -> dict[str, Any]:
            return environment.run("tf_data", paths=paths, application=application)

        ratio, our_timing, their_timing = environment.speedup(ours, theirs)
        description = (
            f"speedup over tf.data and predict: 1,000 JPEG of 500 × 375, {application.split('.')[1]}, {precision}"
        )
        details = rates(1000, our_timing, their_timing)
        measurements.append(at_least(f"{name}/{precision}", description, ratio, target, details))
    return measurements


@benchmark("cold-mobilenet")
def cold_mobilenet(environment: Environment) -> list[Measurement]:
    """Extraction with MobileNet against tf.data and predict."""
    targets = {"int8": 3.2, "bfloat16": 5.0 if has_amx() else 2.2, "float32": 1.5}
    return _against_tf_data(environment, "cold-mobilenet", "mobilenet.MobileNet", {}, targets)


@benchmark("int8-files")
def int8_files(environment: Environment) -> list[Measurement]:
    """Extraction of files in int8 against bfloat16, or float32 where the CPU has no bfloat16."""
    paths, precision = environment.photos(1000), "bfloat16" if has_native_bfloat16() else "float32"
    ratio, ours, other = environment.speedup(
        lambda: environment.extract(paths, {"precision": "int8"}),
        lambda: environment.extract(paths, {"precision": precision}),
    )
    description = f"speedup of int8 over {precision}: 1,000 JPEG of 500 × 375, MobileNet"
    return [at_least("int8-files", description, ratio, 1.4, rates(1000, ours, other))]


@benchmark("cold-resnet50")
def cold_resnet50(environment: Environment) -> list[Measurement]:
    """Extraction with ResNet50 against tf.data and predict."""
    weights = random_weights(environment.folder, "resnet.ResNet50", "resnet50")
    options = {"backbone": "resnet50", "weights": weights}
    targets = {"bfloat16": 7.0 if has_amx() else 2.2, "float32": 1.3}
    return _against_tf_data(environment, "cold-resnet50", "resnet.ResNet50", options, targets)


@benchmark("cold-timm")
def cold_timm(environment: Environment) -> list[Measurement]:
    """Extraction with MobileNet against timm and a torch DataLoader."""
    description = "speedup over timm and a torch DataLoader: 1,000 JPEG of 500 × 375, MobileNet"
    missing = [name for name in ("torch", "timm") if importlib.util.find_spec(name) is None]
    if missing:
        return [Measurement("cold-timm", description, None, details=f"not installed: {', '.join(missing)}")]
    paths = environment.photos(1000)
    ratio, ours, theirs = environment.speedup(
        lambda: environment.extract(paths, {}), lambda: environment.run("timm", paths=paths, model="mobilenetv1_100")
    )
    return [at_least("cold-timm", description, ratio, 4 if has_amx() else 3, rates(1000, ours, theirs))]


@benchmark("pipeline")
def pipeline(environment: Environment) -> list[Measurement]:
    """Rate of the whole pipeline relative to its stages alone."""
    cache = Path(environment.new_cache({}))
    paths = environment.photos(1000)
    results = [
        measure_throughput(paths, [ExtractionOptions()], cache=cache).results[0] for _ in range(environment.n_runs)
    ]
    share = statistics.median(result.efficiency for result in results)
    last = results[-1]
    network = last.networks[0].images_per_second
    details = f"decoding {last.decode:.0f}, network {network:.0f}, both {last.pipeline:.0f} images/s"
    return [at_least("pipeline", "rate of the pipeline ÷ 1 / (1 / decoding + 1 / network)", share, 0.95, details)]


@benchmark("large-photos")
def large_photos(environment: Environment) -> list[Measurement]:
    """Extraction of 12-megapixel photos against tf.data and load_img."""
    paths = environment.photos(60, 4000, 3000, 85)
    measurements = []
    for workload, target in (("tf_data", 1.8), ("load_img", 5.0)):  # decoding limits both sides

        def theirs(workload: str = workload) -> dict[str, Any]:
            return environment.run(workload, paths=paths, application="mobilenet.MobileNet")

        ratio, our_timing, their_timing = environment.speedup(lambda: environment.extract(paths, {}), theirs)
        description = f"speedup over {workload}: 60 JPEG of 12 megapixels, MobileNet"
        details = rates(60, our_timing, their_timing, digits=1)
        measurements.append(at_least(f"large-photos/{workload}", description, ratio, target, details))
    return measurements


@benchmark("warm")
def warm(environment: Environment) -> list[Measurement]:
    """Run with all rows in the cache against a cold run."""
    paths = environment.photos(10_000, 256, 256)
    cache = environment.new_cache({})
    cold = environment.extract(paths, {}, cache)
    runs = [
        environment.run("extract_rows", paths=paths, options={}, cache=cache) for _ in range(max(3, environment.n_runs))
    ]
    rate = statistics.median(10_000 / run["seconds"] for run in runs)
    is_light = all(run["computed"] == 0 and not run["imported"] for run in runs)
    details = f"{rate:,.0f} rows/s; no network library imported: {is_light}"
    ok = rate >= 50_000 and is_light
    return [
        at_least(
            "warm", "speedup of a warm run over the cold run", rate * cold["seconds"] / 10_000, 100, details, ok=ok
        )
    ]


@benchmark("int8-network")
def int8_network(environment: Environment) -> list[Measurement]:
    """Network alone in int8 against bfloat16 and float32: MobileNet, and ResNet50 with random weights."""
    measurements = []
    targets = {"bfloat16": 1.5, "float32": 3.0} if has_native_bfloat16() else {"float32": 3.0}
    for backbone, application in {"mobilenet": "", "resnet50": "resnet.ResNet50"}.items():
        weights = random_weights(environment.folder, application, backbone) if application else "imagenet"
        arguments = {"backbone": backbone, "weights": weights, "cache": str(environment.folder / "int8")}
        precisions = ["int8", *targets]
        environment.run("run_network", precisions=precisions, **arguments)  # converts and quantizes
        runs = [environment.run("run_network", precisions=precisions, **arguments) for _ in range(environment.n_runs)]
        for precision, target in targets.items():
            pairs = [(run["rates"]["int8"], run["rates"][precision]) for run in runs]
            ours, theirs = median_run(pairs, lambda pair: pair[0] / pair[1])
            ratio = ours / theirs
            details = f"{ours:.0f} vs. {theirs:.0f} images/s; cosine of photographs to float32 {runs[0]['cosine']:.4f}"
            description = f"speedup of {backbone}, network alone, int8 over {precision}"
            measurements.append(at_least(f"int8-network/{backbone}-{precision}", description, ratio, target, details))
    return measurements


@benchmark("start")
def start(environment: Environment) -> list[Measurement]:
    """Time from start to the first features on a fresh machine: no cache, no compiled network."""
    paths = environment.photos(1)
    runs = [
        environment.extract(paths, {}, environment.temporary_folder(), start=False)
        for _ in range(max(3, environment.n_runs))
    ]
    seconds = statistics.median(run["processor_seconds"] for run in runs)
    is_light = all("tensorflow" not in run["imported"] for run in runs)
    description = "start to first features with the bundled network and no cache, processor seconds"
    return [at_most("start", description, seconds, 0.8, f"tensorflow never imported: {is_light}", ok=is_light)]


@benchmark("many-images")
def many_images(environment: Environment) -> list[Measurement]:
    """Memory and time per image with 60,000 images."""
    paths = environment.photos(60_000, 128, 128)
    environment.extract(paths[:1000], {})  # fills the file cache of the system
    few, many = environment.extract(paths[:1000], {}), environment.extract(paths, {})
    change = (many["seconds"] / 60_000) / (few["seconds"] / 1000)
    memory_details = f"{few['peak_mb']:.0f} MB with 1,000"
    time_details = f"{60_000 / many['seconds']:.0f} vs. {1000 / few['seconds']:.0f} images/s"
    return [
        at_most("many-images/memory", "peak memory with 60,000 images, MB", many["peak_mb"], 350, memory_details),
        at_most("many-images/time", "time per image, 60,000 relative to 1,000 images", change, 1.1, time_details),
    ]


@benchmark("added-images")
def added_images(environment: Environment) -> list[Measurement]:
    """Time of adding 1 % of the images to an extracted set."""
    paths = environment.photos(10_000, 256, 256)
    cache = environment.new_cache({})
    cold = environment.extract(paths[:-100], {}, cache)
    added = environment.extract(paths, {}, cache)
    share = added["seconds"] / cold["seconds"]
    return [at_most("added-images", "time of adding 1 % of the images, relative to the cold run", share, 0.03)]
