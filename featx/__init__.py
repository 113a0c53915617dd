"""Images → features for scikit-learn: a frozen network, every row kept, nothing computed twice.

``import featx`` loads nothing heavy: names are fetched when they are first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take this name for true; typing itself need not be loaded
if TYPE_CHECKING:
    from typing import Any

    from featx.augmentation import AugmentedFeatures, augment_features
    from featx.backbones import (
        Backbone,
        DirectBackbone,
        KerasBackbone,
        available_backbones,
        load_backbone,
        register_backbone,
    )
    from featx.baselines import Comparison, compare_baselines
    from featx.compare import compare_images
    from featx.curves import learning_curve
    from featx.duplicates import Duplicates, find_duplicates
    from featx.explaining import explain_images
    from featx.exporting import export_model
    from featx.feature_matrix import FeatureMatrix
    from featx.fine_tuning import FineTunedClassifier
    from featx.jobs.merging import Merge, merge_job
    from featx.jobs.planning import Plan, plan_job
    from featx.jobs.running import run_job
    from featx.jobs.status import Status, job_status
    from featx.jobs.summary import Run
    from featx.label_issues import find_label_issues
    from featx.left_out import leave_one_out
    from featx.model_files import load_pipeline, read_model, save_pipeline
    from featx.opening import open_features
    from featx.predicting import predict_images
    from featx.rank import ImageRanking, rank_images
    from featx.ranking import Ranking, rank_features
    from featx.recipe import Recipe
    from featx.results import ImageComparison
    from featx.searching import Similar, find_similar
    from featx.training import Trained, train_images
    from featx.transferability import h_score, log_me
    from featx.transformer import FeatureExtractor

__version__ = "0.1.0"

__all__ = [
    "AugmentedFeatures",
    "Backbone",
    "Comparison",
    "DirectBackbone",
    "Duplicates",
    "FeatureExtractor",
    "FeatureMatrix",
    "FineTunedClassifier",
    "ImageComparison",
    "ImageRanking",
    "KerasBackbone",
    "Merge",
    "Plan",
    "Ranking",
    "Recipe",
    "Run",
    "Similar",
    "Status",
    "Trained",
    "__version__",
    "augment_features",
    "available_backbones",
    "compare_baselines",
    "compare_images",
    "explain_images",
    "export_model",
    "find_duplicates",
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
    "train_images",
]

_HOMES = {
    "AugmentedFeatures": "augmentation",
    "Backbone": "backbones",
    "Comparison": "baselines",
    "DirectBackbone": "backbones",
    "Duplicates": "duplicates",
    "FeatureExtractor": "transformer",
    "FeatureMatrix": "feature_matrix",
    "FineTunedClassifier": "fine_tuning",
    "ImageComparison": "results",
    "ImageRanking": "rank",
    "KerasBackbone": "backbones",
    "Merge": "jobs.merging",
    "Plan": "jobs.planning",
    "Ranking": "ranking",
    "Recipe": "recipe",
    "Run": "jobs.summary",
    "Similar": "searching",
    "Status": "jobs.status",
    "Trained": "training",
    "augment_features": "augmentation",
    "available_backbones": "backbones",
    "compare_baselines": "baselines",
    "compare_images": "compare",
    "explain_images": "explaining",
    "export_model": "exporting",
    "find_duplicates": "duplicates",
    "find_label_issues": "label_issues",
    "find_similar": "searching",
    "h_score": "transferability",
    "job_status": "jobs.status",
    "learning_curve": "curves",
    "leave_one_out": "left_out",
    "load_backbone": "backbones",
    "load_pipeline": "model_files",
    "log_me": "transferability",
    "merge_job": "jobs.merging",
    "open_features": "opening",
    "plan_job": "jobs.planning",
    "predict_images": "predicting",
    "rank_features": "ranking",
    "rank_images": "rank",
    "read_model": "model_files",
    "register_backbone": "backbones",
    "run_job": "jobs.running",
    "save_pipeline": "model_files",
    "train_images": "training",
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
