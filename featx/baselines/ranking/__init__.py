"""Ranking of feature matrices without fitting an estimator to each.

``rank_features``    :func:`featx.rank_features`: all criteria for all matrices
``ranking``          :class:`featx.Ranking`, its result, and its text
``leave_one_out``    leave-one-out predictions of ridge regression (closed form) and nearest neighbors
``transferability``  LogME and the H-score
``gram``             the Gram matrix of centered features, which all but nearest neighbors use

May import: ``baselines``, ``features``, ``datasets``, ``system``, ``errors``.
"""
