"""Results of :func:`featx.benchmark_images`, as data and as text."""

from __future__ import annotations

import dataclasses
from typing import Any

from featx.extraction.benchmarking.stage_times import StageTime
from featx.system.formatting import format_percent
from featx.system.notebook.cards import Record
from featx.system.notebook.html import TextResult

#: Smallest mean cosine similarity to float32, and smallest gain in speed, with which a precision is recommended.
_MIN_RECOMMENDED_COSINE = 0.99
_MIN_GAIN = 1.1


@dataclasses.dataclass(frozen=True)
class NetworkRate(Record):
    """Speed of a network alone, on pixels in memory.

    Attributes
    ----------
    engine, precision : str
        How the network was run.
    images_per_second : float
        Number of images divided by wall-clock time.
    cosine : float
        Mean cosine similarity of the features and those of ``model.predict`` in float32.

    See Also
    --------
    BackboneBenchmark : Rates of all engines and precisions of a backbone.

    Examples
    --------
    >>> from featx import NetworkRate
    >>> rate = NetworkRate("openvino", "bfloat16", 700.0, 0.997)
    >>> f"{1000 / rate.images_per_second:.1f} ms per image"
    '1.4 ms per image'
    """

    engine: str
    precision: str
    images_per_second: float
    cosine: float


@dataclasses.dataclass(frozen=True)
class BackboneBenchmark(TextResult):
    """Speed of one backbone, in images per second.

    Attributes
    ----------
    backbone : str
        Name of the backbone.
    decode : float
        Reading and decoding files on all cores.
    networks : list of NetworkRate
        The network alone, with each engine and precision of this machine.
    precision : str
        Precision of the default, ``precision="auto"``.
    pipeline : float
        From files to features, with the default precision.
    efficiency : float
        `pipeline` divided by 1 / (1 / decode + 1 / network), the rate that decoder and network allow.
    keras : float
        From files to features with tf.data and ``model.predict``.
    ratio : float
        `pipeline` divided by `keras`.
    stages : list of StageTime
        Processor time of each stage, in the order of the pipeline.
    int8_problem : str, default=""
        Why the network was not run in int8; "" if it was.

    See Also
    --------
    benchmark_images : Measure the throughput of backbones.

    Examples
    --------
    >>> from featx import BackboneBenchmark, NetworkRate
    >>> networks = [NetworkRate("openvino", "float32", 360.0, 1.0), NetworkRate("openvino", "bfloat16", 700.0, 0.997)]
    >>> measured = BackboneBenchmark("mobilenet", 1300.0, networks, "bfloat16", 440.0, 0.97, 180.0, 440 / 180, [])
    >>> max(measured.networks, key=lambda rate: rate.images_per_second).precision, round(measured.ratio, 1)
    ('bfloat16', 2.4)
    """

    backbone: str
    decode: float
    networks: list[NetworkRate]
    precision: str
    pipeline: float
    efficiency: float
    keras: float
    ratio: float
    stages: list[StageTime]
    int8_problem: str = ""

    @property
    def recommended_precision(self) -> str:
        """Fastest precision with OpenVINO whose features are close to float32, if it is faster than the default."""
        default = next(network for network in self.networks if network.precision == self.precision)
        close = [network for network in self.networks[:-1] if network.cosine >= _MIN_RECOMMENDED_COSINE]
        fastest = max(close, key=lambda network: network.images_per_second, default=default)
        gain = fastest.images_per_second / default.images_per_second
        return fastest.precision if gain >= _MIN_GAIN else self.precision

    def as_text(self) -> str:
        """Return a human-readable table."""
        lines = [self.backbone, f"  {'read and decode, all cores':<38} {self.decode:>8.0f}"]
        for network in self.networks:
            name = f"network alone: {network.engine}, {network.precision}"
            lines.append(f"  {name:<38} {network.images_per_second:>8.0f}   cosine to Keras {network.cosine:.5f}")
        if self.int8_problem:
            lines.append(f"  int8 was not measured: {self.int8_problem}")
        lines.append(
            f"  {f'featx from files, {self.precision}':<38} {self.pipeline:>8.0f}   "
            f"{format_percent(self.efficiency)} of what decoder and network allow"
        )
        lines.append(f"  {'tf.data + model.predict from files':<38} {self.keras:>8.0f}")
        lines += [
            f"  featx is {self.ratio:.1f} times as fast",
            f"  {self._recommendation()}",
            "",
            "  processor time in ms per image, all cores together",
        ]
        for stage in self.stages:
            lines.append(f"  {stage.stage:<38} {stage.milliseconds:>8.2f} {format_percent(stage.share):>6}")
        return "\n".join(lines)

    def _recommendation(self) -> str:
        if (precision := self.recommended_precision) == self.precision:
            return f"recommended: the default, {precision}"
        rates = {network.precision: network.images_per_second for network in self.networks[:-1]}
        gain = rates[precision] / rates[self.precision]
        return f"recommended: --precision {precision}; the network is {gain:.1f} times as fast as with {self.precision}"


@dataclasses.dataclass(frozen=True)
class Benchmark(TextResult):
    """Result of :func:`benchmark_images`.

    Attributes
    ----------
    machine : str
        Processor, operating system and version of Python.
    cores : int
        Number of cores that were used.
    images : int
        Number of image files that were used.
    results : list of BackboneBenchmark
        Speed of each backbone.

    See Also
    --------
    benchmark_images : Measure the extraction speed of this machine.

    Examples
    --------
    >>> from featx import Benchmark
    >>> print(Benchmark("CPU (Linux, Python 3.12)", 2, 512, []).as_text())
    CPU (Linux, Python 3.12), 2 cores; 512 images; images/s
    """

    machine: str
    cores: int
    images: int
    results: list[BackboneBenchmark]

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON types."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """Return a human-readable table."""
        title = f"{self.machine}, {self.cores} cores; {self.images:,} images; images/s"
        return "\n\n".join([title, *(result.as_text() for result in self.results)])
