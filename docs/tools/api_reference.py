"""The public names by topic: title, description, module and names of each section of the Python API."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Section:
    """One section of the overview."""

    title: str
    description: str
    names: tuple[str, ...]
    module: str = "featx"


SECTIONS = (
    Section(
        "Extracting features",
        "Images in, rows of float32 out. Every row is cached.",
        (
            *("FeatureExtractor", "extract_images", "ExtractionSummary", "augment_features", "AugmentedFeatures"),
            *("open_features", "FeatureMatrix", "Recipe", "benchmark_images", "Benchmark"),
        ),
    ),
    Section(
        "Images and labels",
        "What a folder, table or archive contains.",
        (
            *("find_images", "ImageTable", "ImageRow", "check_images", "ImageCheck", "CheckedImage"),
            "write_digits",
        ),
    ),
    Section(
        "Comparing",
        "Baselines on images, or on any matrix of features.",
        (
            *(
                "compare_images",
                "compare_features",
                "ImageComparison",
                "compare_baselines",
                "Comparison",
                "learning_curve",
            ),
            *("find_label_issues", "scale_to_unit_length", "ZeroShotClassifier"),
        ),
    ),
    Section(
        "Ranking backbones, layers and poolings",
        "Scores that need no cross-validation.",
        ("rank_images", "ImageRanking", "rank_features", "Ranking", "leave_one_out", "log_me", "h_score"),
    ),
    Section(
        "Training, predicting, exporting",
        "Model files that run no code when they are read.",
        (
            *("train_images", "TrainedModel", "predict_images", "Prediction", "Predictor"),
            *("explain_images", "Explanation", "Attribution", "export_model", "ExportedModel"),
            *("read_model", "Model", "ModelCard", "save_pipeline", "load_pipeline", "FineTunedClassifier"),
            *("LabelEncodedClassifier", "TagClassifier", "Tags", "requirements"),
        ),
    ),
    Section(
        "Similar images and duplicates",
        "Nearest neighbors by cosine similarity.",
        (
            *("similar_images", "SimilarImages", "find_similar", "Similar", "find_duplicates", "Duplicates"),
            *("select_duplicates", "DuplicateSelection"),
        ),
    ),
    Section(
        "Large datasets",
        "Jobs: shards that are processed independently, on one machine or many.",
        (
            *("plan_job", "JobPlan", "ExtractionParameters", "run_job", "job_status", "JobStatus", "merge_job"),
            "JobMerge",
        ),
    ),
    Section(
        "The feature cache",
        "Size, integrity and cleaning.",
        (
            *("cache_info", "CacheSummary", "verify_cache", "CacheVerification"),
            *("compact_cache", "CacheCompaction", "clear_cache", "CacheClearing"),
        ),
    ),
    Section(
        "Backbones",
        "Networks by name, and how to add one.",
        (
            *("available_backbones", "search_backbones", "load_backbone", "register_backbone", "unregister_backbone"),
            *("Backbone", "KerasBackbone", "DirectBackbone"),
        ),
    ),
    Section(
        "Parts of results, and types of parameters",
        "For annotations: functions above return them in their results, or take them.",
        (
            *("Failure", "Failures", "Split", "ScaleLimits", "BackboneComparison", "ImageDuplicates", "DuplicateGroup"),
            *("ImageMatches", "Match", "BackboneBenchmark", "NetworkRate", "StageTime", "RecipeInfo"),
            *("LayerInfo", "Weights"),
        ),
    ),
    Section(
        "Progress",
        "What long functions report to a function that is passed as ``progress``.",
        ("Progress",),
    ),
    Section(
        "Helpers for tests",
        "For tests of code that uses or extends featx: a backbone that counts, and the contract of a row store.",
        ("CountingBackbone", "registered", "RowStore", "StoreContract"),
        module="featx.testing",
    ),
)
