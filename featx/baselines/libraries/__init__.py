"""Estimators of other libraries, which follow scikit-learn's conventions with some differences.

``classes``        import a class by its full name, such as ``xgboost.XGBClassifier``
``label_encoding`` :class:`featx.LabelEncodedClassifier`: classes as 0, 1, 2, …, and outputs in scikit-learn's shapes
``outputs``        check the shape of predictions and probabilities

May import: ``baselines``, ``system``, ``errors``.
"""
