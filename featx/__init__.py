"""Images → features for scikit-learn: a frozen network, every row kept, nothing computed twice.

``import featx`` loads nothing heavy: names are fetched when they are first used.
"""

from __future__ import annotations

from featx.system.version import __version__

TYPE_CHECKING = False  # type checkers take this name for true; typing itself need not be loaded
if TYPE_CHECKING:
    from typing import Any

    from featx.backbones.registry import (
        Backbone,
        DirectBackbone,
        KerasBackbone,
        available_backbones,
        load_backbone,
        register_backbone,
        unregister_backbone,
    )
    from featx.baselines.builtin_baselines import scale_to_unit_length
    from featx.baselines.comparison import Comparison
    from featx.baselines.cross_validate import compare_baselines
    from featx.baselines.label_issues import find_label_issues
    from featx.baselines.learning_curve import learning_curve
    from featx.baselines.ranking.leave_one_out import leave_one_out
    from featx.baselines.ranking.rank_features import rank_features
    from featx.baselines.ranking.ranking import Ranking
    from featx.baselines.ranking.transferability import h_score, log_me
    from featx.datasets.find import find_images
    from featx.datasets.image_check import CheckedImage, ImageCheck, check_images
    from featx.datasets.image_table import ImageRow, ImageTable
    from featx.datasets.sample_images import write_digits
    from featx.extraction.augmented_features import AugmentedFeatures, augment_features
    from featx.extraction.benchmarking.benchmark import Benchmark, benchmark_images
    from featx.extraction.cache import cache_info, clear_cache, compact_cache, verify_cache
    from featx.extraction.cache_results import CacheClearing, CacheCompaction, CacheSummary, CacheVerification
    from featx.extraction.feature_extractor import FeatureExtractor
    from featx.extraction.to_file import ExtractionSummary, extract_images
    from featx.features.duplicates.find import Duplicates, find_duplicates
    from featx.features.matrix import FeatureMatrix
    from featx.features.open import open_features
    from featx.features.search.nearest import Similar, find_similar
    from featx.jobs.merge import JobMerge, merge_job
    from featx.jobs.plan import JobPlan, plan_job
    from featx.jobs.run import JobRun, run_job
    from featx.jobs.status import JobStatus, job_status
    from featx.models.card import ModelCard
    from featx.models.explain.attribution import Attribution, Explanation
    from featx.models.explain.explain import explain_images
    from featx.models.export.export import ExportedModel, export_model
    from featx.models.fine_tuning.classifier import FineTunedClassifier
    from featx.models.model import Model
    from featx.models.model_file import load_pipeline, read_model, save_pipeline
    from featx.models.predict import Predictor, predict_images
    from featx.models.prediction import Prediction
    from featx.recipe import Recipe
    from featx.workflows.compare import compare_images
    from featx.workflows.rank import ImageRanking, rank_images
    from featx.workflows.result import ImageComparison
    from featx.workflows.search.similar import SimilarImages, similar_images
    from featx.workflows.train import TrainedModel, train_images

__all__ = [
    "Attribution",
    "AugmentedFeatures",
    "Backbone",
    "Benchmark",
    "CacheClearing",
    "CacheCompaction",
    "CacheSummary",
    "CacheVerification",
    "CheckedImage",
    "Comparison",
    "DirectBackbone",
    "Duplicates",
    "Explanation",
    "ExportedModel",
    "ExtractionSummary",
    "FeatureExtractor",
    "FeatureMatrix",
    "FineTunedClassifier",
    "ImageCheck",
    "ImageComparison",
    "ImageRanking",
    "ImageRow",
    "ImageTable",
    "JobMerge",
    "JobPlan",
    "JobRun",
    "JobStatus",
    "KerasBackbone",
    "Model",
    "ModelCard",
    "Prediction",
    "Predictor",
    "Ranking",
    "Recipe",
    "Similar",
    "SimilarImages",
    "TrainedModel",
    "__version__",
    "augment_features",
    "available_backbones",
    "benchmark_images",
    "cache_info",
    "check_images",
    "clear_cache",
    "compact_cache",
    "compare_baselines",
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
    "run_job",
    "save_pipeline",
    "scale_to_unit_length",
    "similar_images",
    "train_images",
    "unregister_backbone",
    "verify_cache",
    "write_digits",
]

_HOMES = {
    "Attribution": "models.explain.attribution",
    "AugmentedFeatures": "extraction.augmented_features",
    "Backbone": "backbones.registry",
    "Benchmark": "extraction.benchmarking.benchmark",
    "CacheClearing": "extraction.cache_results",
    "CacheCompaction": "extraction.cache_results",
    "CacheSummary": "extraction.cache_results",
    "CacheVerification": "extraction.cache_results",
    "CheckedImage": "datasets.image_check",
    "Comparison": "baselines.comparison",
    "DirectBackbone": "backbones.registry",
    "Duplicates": "features.duplicates.find",
    "Explanation": "models.explain.attribution",
    "ExportedModel": "models.export.export",
    "ExtractionSummary": "extraction.to_file",
    "FeatureExtractor": "extraction.feature_extractor",
    "FeatureMatrix": "features.matrix",
    "FineTunedClassifier": "models.fine_tuning.classifier",
    "ImageCheck": "datasets.image_check",
    "ImageComparison": "workflows.result",
    "ImageRanking": "workflows.rank",
    "ImageRow": "datasets.image_table",
    "ImageTable": "datasets.image_table",
    "JobMerge": "jobs.merge",
    "JobPlan": "jobs.plan",
    "JobRun": "jobs.run",
    "JobStatus": "jobs.status",
    "KerasBackbone": "backbones.registry",
    "Model": "models.model",
    "ModelCard": "models.card",
    "Prediction": "models.prediction",
    "Predictor": "models.predict",
    "Ranking": "baselines.ranking.ranking",
    "Recipe": "recipe",
    "Similar": "features.search.nearest",
    "SimilarImages": "workflows.search.similar",
    "TrainedModel": "workflows.train",
    "augment_features": "extraction.augmented_features",
    "available_backbones": "backbones.registry",
    "benchmark_images": "extraction.benchmarking.benchmark",
    "cache_info": "extraction.cache",
    "check_images": "datasets.image_check",
    "clear_cache": "extraction.cache",
    "compact_cache": "extraction.cache",
    "compare_baselines": "baselines.cross_validate",
    "compare_images": "workflows.compare",
    "explain_images": "models.explain.explain",
    "export_model": "models.export.export",
    "extract_images": "extraction.to_file",
    "find_duplicates": "features.duplicates.find",
    "find_images": "datasets.find",
    "find_label_issues": "baselines.label_issues",
    "find_similar": "features.search.nearest",
    "h_score": "baselines.ranking.transferability",
    "job_status": "jobs.status",
    "learning_curve": "baselines.learning_curve",
    "leave_one_out": "baselines.ranking.leave_one_out",
    "load_backbone": "backbones.registry",
    "load_pipeline": "models.model_file",
    "log_me": "baselines.ranking.transferability",
    "merge_job": "jobs.merge",
    "open_features": "features.open",
    "plan_job": "jobs.plan",
    "predict_images": "models.predict",
    "rank_features": "baselines.ranking.rank_features",
    "rank_images": "workflows.rank",
    "read_model": "models.model_file",
    "register_backbone": "backbones.registry",
    "run_job": "jobs.run",
    "save_pipeline": "models.model_file",
    "scale_to_unit_length": "baselines.builtin_baselines",
    "similar_images": "workflows.search.similar",
    "train_images": "workflows.train",
    "unregister_backbone": "backbones.registry",
    "verify_cache": "extraction.cache",
    "write_digits": "datasets.sample_images",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'featx' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"featx.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
