"""Groups of samples as folds see them."""

import numpy as np
import pytest

from featx.baselines.folds.groups import group_codes


@pytest.mark.parametrize("missing", [float("nan"), None])
@pytest.mark.parametrize("known", ["p1", 1, 1.5])
def test_each_missing_group_is_a_group_by_itself(known, missing):
    groups = [known, missing, known, missing]
    assert group_codes(groups, 4).tolist() == [0, 1, 0, 2]
    assert group_codes(np.array(groups, dtype=object), 4).tolist() == [0, 1, 0, 2]
