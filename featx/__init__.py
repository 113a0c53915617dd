"""Extract and cache image features for scikit-learn with a frozen network.

Public names are imported from ``featx``, ``featx.errors`` and ``featx.testing``; other modules may move. ``import
featx`` loads no heavy library: each name is imported when it is first used.
"""

from __future__ import annotations

from featx.system.version import __version__

TYPE_CHECKING = False  # type checkers read this as True; importing typing would take time
if TYPE_CHECKING:
    from typing import Any

    from featx.backbones.base import Weights
    from featx.backbones.layers import LayerInfo
    from featx.backbones.registry import (
        Backbone,
        DirectBackbone,
        KerasBackbone,
        available_backbones,
        load_backbone,
        register_backbone,
        unregister_backbone,
    )
    from featx.backbones.torch.search import search_backbones
    from featx.baselines.builtin_baselines import scale_to_unit_length
    from featx.baselines.comparison import Comparison
    from featx.baselines.cross_validate import compare_baselines
    from featx.baselines.folds.split import Split
    from featx.baselines.label_issues import find_label_issues
    from featx.baselines.learning_curve import learning_curve
    from featx.baselines.libraries.label_encoding import LabelEncodedClassifier
    from featx.baselines.multilabel.classifier import TagClassifier
    from featx.baselines.ranking.leave_one_out import leave_one_out
    from featx.baselines.ranking.rank_features import rank_features
    from featx.baselines.ranking.ranking import Ranking
    from featx.baselines.ranking.transferability import h_score, log_me
    from featx.baselines.scaling.limits import ScaleLimits
    from featx.datasets.failures import Failure, Failures
    from featx.datasets.find import find_images
    from featx.datasets.image_check.check import check_images
    from featx.datasets.image_check.result import CheckedImage, ImageCheck
    from featx.datasets.image_table import ImageRow, ImageTable
    from featx.datasets.sample_images import write_digits
    from featx.datasets.tags import Tags
    from featx.extraction.augmented_features import AugmentedFeatures, augment_features
    from featx.extraction.benchmarking.benchmark import benchmark_images
    from featx.extraction.benchmarking.benchmark_results import BackboneBenchmark, Benchmark, NetworkRate
    from featx.extraction.benchmarking.stage_times import StageTime
    from featx.extraction.cache import cache_info, clear_cache, compact_cache, verify_cache
    from featx.extraction.cache_results import CacheClearing, CacheCompaction, CacheSummary, CacheVerification
    from featx.extraction.feature_extractor import FeatureExtractor
    from featx.extraction.recorded import ExtractionParameters
    from featx.extraction.to_file import extract_images
    from featx.extraction.writing.summary import ExtractionSummary
    from featx.features.duplicates.find import Duplicates, find_duplicates
    from featx.features.duplicates.select import DuplicateSelection, select_duplicates
    from featx.features.matrix import FeatureMatrix
    from featx.features.open import open_features
    from featx.features.search.nearest import Similar, find_similar
    from featx.jobs.merge import JobMerge, merge_job
    from featx.jobs.plan import JobPlan, plan_job
    from featx.jobs.run import run_job
    from featx.jobs.status import JobStatus, job_status
    from featx.models.card import ModelCard
    from featx.models.explain.attribution import Attribution
    from featx.models.explain.explain import explain_images
    from featx.models.explain.explanation import Explanation
    from featx.models.export.export import ExportedModel, export_model
    from featx.models.fine_tuning.classifier import FineTunedClassifier
    from featx.models.model import Model
    from featx.models.model_file import load_pipeline, read_model, save_pipeline
    from featx.models.predict import predict_images
    from featx.models.prediction import Prediction
    from featx.models.predictor import Predictor
    from featx.models.zero_shot.classifier import ZeroShotClassifier
    from featx.recipe import Recipe
    from featx.store.info import RecipeInfo
    from featx.system.requirements import requirements
    from featx.system.terminal.report import Progress
    from featx.workflows.compare import compare_images
    from featx.workflows.experiment import BackboneComparison
    from featx.workflows.image_duplicates import DuplicateGroup, ImageDuplicates
    from featx.workflows.rank import ImageRanking, rank_images
    from featx.workflows.result import ImageComparison
    from featx.workflows.search.matches import ImageMatches, Match
    from featx.workflows.search.similar import SimilarImages, similar_images
    from featx.workflows.stored.compare import compare_features
    from featx.workflows.training.train import train_images
    from featx.workflows.training.trained_model import TrainedModel

__all__ = [
    "Attribution",
    "AugmentedFeatures",
    "Backbone",
    "BackboneBenchmark",
    "BackboneComparison",
    "Benchmark",
    "CacheClearing",
    "CacheCompaction",
    "CacheSummary",
    "CacheVerification",
    "CheckedImage",
    "Comparison",
    "DirectBackbone",
    "DuplicateGroup",
    "DuplicateSelection",
    "Duplicates",
    "Explanation",
    "ExportedModel",
    "ExtractionParameters",
    "ExtractionSummary",
    "Failure",
    "Failures",
    "FeatureExtractor",
    "FeatureMatrix",
    "FineTunedClassifier",
    "ImageCheck",
    "ImageComparison",
    "ImageDuplicates",
    "ImageMatches",
    "ImageRanking",
    "ImageRow",
    "ImageTable",
    "JobMerge",
    "JobPlan",
    "JobStatus",
    "KerasBackbone",
    "LabelEncodedClassifier",
    "LayerInfo",
    "Match",
    "Model",
    "ModelCard",
    "NetworkRate",
    "Prediction",
    "Predictor",
    "Progress",
    "Ranking",
    "Recipe",
    "RecipeInfo",
    "ScaleLimits",
    "Similar",
    "SimilarImages",
    "Split",
    "StageTime",
    "TagClassifier",
    "Tags",
    "TrainedModel",
    "Weights",
    "ZeroShotClassifier",
    "__version__",
    "augment_features",
    "available_backbones",
    "benchmark_images",
    "cache_info",
    "check_images",
    "clear_cache",
    "compact_cache",
    "compare_baselines",
    "compare_features",
    "compare_images",
    "explain_images",
    "export_model",
    "extract_images",
    "find_duplicates",
    "find_images",
    "find_label_issues",
    "find_similar",
    "h_score",
    "job_status",
    "learning_curve",
    "leave_one_out",
    "load_backbone",
    "load_pipeline",
    "log_me",
    "merge_job",
    "open_features",
    "plan_job",
    "predict_images",
    "rank_features",
    "rank_images",
    "read_model",
    "register_backbone",
    "requirements",
    "run_job",
    "save_pipeline",
    "scale_to_unit_length",
    "search_backbones",
    "select_duplicates",
    "similar_images",
    "train_images",
    "unregister_backbone",
    "verify_cache",
    "write_digits",
]

#: Public names by module.
_EXPORTS = {
    "backbones.base": ("Weights",),
    "backbones.layers": ("LayerInfo",),
    "backbones.registry": (
        "Backbone",
        "DirectBackbone",
        "KerasBackbone",
        "available_backbones",
        "load_backbone",
        "register_backbone",
        "unregister_backbone",
    ),
    "backbones.torch.search": ("search_backbones",),
    "baselines.builtin_baselines": ("scale_to_unit_length",),
    "baselines.comparison": ("Comparison",),
    "baselines.cross_validate": ("compare_baselines",),
    "baselines.folds.split": ("Split",),
    "baselines.libraries.label_encoding": ("LabelEncodedClassifier",),
    "baselines.label_issues": ("find_label_issues",),
    "baselines.learning_curve": ("learning_curve",),
    "baselines.multilabel.classifier": ("TagClassifier",),
    "baselines.ranking.leave_one_out": ("leave_one_out",),
    "baselines.ranking.rank_features": ("rank_features",),
    "baselines.ranking.ranking": ("Ranking",),
    "baselines.ranking.transferability": ("h_score", "log_me"),
    "baselines.scaling.limits": ("ScaleLimits",),
    "datasets.failures": ("Failure", "Failures"),
    "datasets.find": ("find_images",),
    "datasets.image_check.check": ("check_images",),
    "datasets.image_check.result": ("CheckedImage", "ImageCheck"),
    "datasets.image_table": ("ImageRow", "ImageTable"),
    "datasets.sample_images": ("write_digits",),
    "datasets.tags": ("Tags",),
    "extraction.augmented_features": ("AugmentedFeatures", "augment_features"),
    "extraction.benchmarking.benchmark": ("benchmark_images",),
    "extraction.benchmarking.benchmark_results": ("BackboneBenchmark", "Benchmark", "NetworkRate"),
    "extraction.benchmarking.stage_times": ("StageTime",),
    "extraction.cache": ("cache_info", "clear_cache", "compact_cache", "verify_cache"),
    "extraction.cache_results": ("CacheClearing", "CacheCompaction", "CacheSummary", "CacheVerification"),
    "extraction.feature_extractor": ("FeatureExtractor",),
    "extraction.recorded": ("ExtractionParameters",),
    "extraction.to_file": ("extract_images",),
    "extraction.writing.summary": ("ExtractionSummary",),
    "features.duplicates.find": ("Duplicates", "find_duplicates"),
    "features.duplicates.select": ("DuplicateSelection", "select_duplicates"),
    "features.matrix": ("FeatureMatrix",),
    "features.open": ("open_features",),
    "features.search.nearest": ("Similar", "find_similar"),
    "jobs.merge": ("JobMerge", "merge_job"),
    "jobs.plan": ("JobPlan", "plan_job"),
    "jobs.run": ("run_job",),
    "jobs.status": ("JobStatus", "job_status"),
    "models.card": ("ModelCard",),
    "models.explain.attribution": ("Attribution",),
    "models.explain.explain": ("explain_images",),
    "models.explain.explanation": ("Explanation",),
    "models.export.export": ("ExportedModel", "export_model"),
    "models.fine_tuning.classifier": ("FineTunedClassifier",),
    "models.model": ("Model",),
    "models.model_file": ("load_pipeline", "read_model", "save_pipeline"),
    "models.predict": ("predict_images",),
    "models.prediction": ("Prediction",),
    "models.predictor": ("Predictor",),
    "models.zero_shot.classifier": ("ZeroShotClassifier",),
    "recipe": ("Recipe",),
    "store.info": ("RecipeInfo",),
    "system.terminal.report": ("Progress",),
    "system.requirements": ("requirements",),
    "workflows.compare": ("compare_images",),
    "workflows.experiment": ("BackboneComparison",),
    "workflows.image_duplicates": ("DuplicateGroup", "ImageDuplicates"),
    "workflows.rank": ("ImageRanking", "rank_images"),
    "workflows.result": ("ImageComparison",),
    "workflows.search.matches": ("ImageMatches", "Match"),
    "workflows.search.similar": ("SimilarImages", "similar_images"),
    "workflows.stored.compare": ("compare_features",),
    "workflows.training.train": ("train_images",),
    "workflows.training.trained_model": ("TrainedModel",),
}
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'featx' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"featx.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
