"""The public Predictor: one model, many calls, several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx import InputError, Predictor, predict_images, read_model
