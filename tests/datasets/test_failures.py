"""The remedy of an image that cannot be read fits the error, and works: each test carries one out."""

from __future__ import annotations

import ast
import base64
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx import FeatureExtractor, ImageTable, extract_images, find_images, plan_job
from featx.datasets.failures import Failure, remedy_for, without_advice
from featx.errors import SourceError, UnreadableImageError

ROOT = Path(__file__).parents[2]
FAST: dict[str, Any] = {"backbone": "color_histogram", "image_size": 32, "cache": None}


@pytest.fixture
def photo(in_folder: Path) -> Path:
    """An image in the working folder."""
    os.mkdir("img")
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save("img/a.jpg")
    return Path("img/a.jpg")


def message(source: Any, **options: Any) -> str:
    with pytest.raises(SourceError) as caught:
        extract_images(source, "f.npy", **FAST, **options)
    return str(caught.value)


def extracts(source: Any, **options: Any) -> None:
    assert extract_images(source, "f.npy", **{**FAST, **options}).failed == 0


@pytest.mark.parametrize(
    "written", ["img\\a.jpg", "img/a", "img/a.png", "img/A.jpg", " img/a.jpg", "img/aa.jpg", "a.jpg"]
)
def test_missing_path_that_is_written_differently(written: str, photo: Path) -> None:
    text = message(ImageTable([written], [None]))
    assert f"Relative paths start at the working directory {os.getcwd()!r}." in text
    (existing,) = re.findall(r"\. '([^']*)' exists\. Correct the paths\.", text)
    extracts([existing])


def test_missing_folder_of_a_table(photo: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("path\nphotos/2020/a.jpg\n")
    text = message(str(table))
    assert f"There is no folder '{tmp_path}/photos'. Correct the paths; for a table, pass where they start" in text
    os.renames("img", "elsewhere/photos/2020")
    extracts(str(table), root="elsewhere")


def test_encrypted_archive(photo: Path) -> None:
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.write(photo)
    data = bytearray(Path("a.zip").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1  # the flag of encryption
    Path("b.zip").write_bytes(data)
    assert message("b.zip").endswith("Unpack the archive with its password, and pass the folder.")
    zipfile.ZipFile("a.zip").extractall("unpacked")
    extracts("unpacked")


def test_truncated_image(photo: Path) -> None:
    photo.write_bytes(photo.read_bytes()[:-200])
    assert 'or pass on_truncated="pad" (--on-truncated pad)' in message(str(photo))
    extracts(str(photo), on_truncated="pad")
    with pytest.raises(UnreadableImageError, match='pad it with on_truncated="pad"'):
        FeatureExtractor(**FAST).transform([photo])


def test_too_many_pixels(photo: Path) -> None:
    text = message(str(photo), max_pixels=1000)
    assert text.endswith("the limit of 1,000; if this size is correct, raise max_pixels (--max-pixels).")
    extracts(str(photo), max_pixels=10_000)


def test_unknown_format(photo: Path) -> None:
    Path("b.jpg").write_bytes(b"BPG\xfb" + bytes(range(200)))
    assert "Convert the files to JPEG or PNG" in message("b.jpg")
    PIL.Image.open(photo).save("b.jpg", "PNG")
    extracts("b.jpg")


def test_git_lfs_pointer(in_folder: Path) -> None:
    Path("a.jpg").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    text = message("a.jpg")
    assert "is not an image but a Git LFS pointer" in text
    assert text.endswith("Run git lfs pull in the repository of the images.")


def test_folder_among_paths(photo: Path) -> None:
    table = ImageTable(["img"], [None])
    assert "Pass the folder itself as a source" in message(table)
    extracts("img")


def test_corrupt_image(photo: Path) -> None:
    photo.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + b"x" * 100)
    assert "Open the files in an image viewer, and restore those" in message(str(photo))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all files")
def test_permissions(photo: Path) -> None:
    photo.chmod(0)
    assert "Change the permissions of the files" in message(str(photo))
    photo.chmod(0o644)
    extracts(str(photo))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("the server responds 401 Unauthorized", "do not require a login"),
        ("the server responds 403 Forbidden", "refuses access"),
        ("the server responds 404 Not Found", "no such file"),
        ("the server responds 429 Too Many Requests", "limits requests. Run the command again later"),
        ("the server responds 503", "Run the command again later"),
        ("Connect call failed ('127.0.0.1', 1)", "Check the address and whether its server answers"),
        ("HEIC images require the package pillow-heif: pip install 'featx[heic]'", "Install it"),
    ],
)
def test_remedies_of_servers_and_packages(reason: str, words: str) -> None:
    assert words in remedy_for(Failure(0, "https://example.org/a.jpg", reason, "UnreachableImageError"))


def reasons() -> Iterator[str]:
    """Yield the texts of errors of images in the code that name an option; expressions in them are "X"."""
    for path in (ROOT / "featx" / "images").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Raise):
                continue
            error = ast.unparse(node)
            if "UnreadableImageError" in error or "ImageTooLargeError" in error or "RefusedImage" in error:
                parts = [part for part in ast.walk(node) if isinstance(part, ast.JoinedStr | ast.Constant)]
                text = max((as_text(part) for part in parts), key=len, default="")
                if "--" in text:
                    yield text


def as_text(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(as_text(part) for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "X"


def test_advice_is_the_end_of_each_reason() -> None:
    """A service removes it: its clients cannot change options."""
    texts = sorted(reasons())
    assert len(texts) >= 6
    for text in texts:
        short = without_advice(text)
        assert 10 < len(short) < len(text), text
        assert not re.search(r"--|\w=|\boption", short), text
        assert remedy_for(Failure(0, "a.tif", text)) in ("", "Values outside of it become black and white."), text
        assert remedy_for(Failure(0, "a.tif", short)), text


def test_long_names_are_shortened() -> None:
    assert len(str(UnreadableImageError("corrupt", "x" * 100_000))) < 1000


def test_images_as_text_in_base64(photo: Path) -> None:
    encoded = base64.b64encode(photo.read_bytes()).decode()
    for start in ("", "data:image/jpeg;base64,"):
        text = message(ImageTable([start + encoded], [None]))
        assert (
            f"is no path; if it is an image in base64, decode it with base64.b64decode({'text' * (not start)}" in text
        )
        assert text.endswith("Pass the decoded bytes, or write them to files.")
        assert len(text) < 700
        decode = re.search(r"base64\.b64decode\(.*?\)(?=\. Pass)", text)
        assert decode is not None
        extracts([eval(decode[0], {"base64": base64, "text": start + encoded})])


def test_bands_have_no_second_remedy(in_folder: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pixels = np.random.default_rng(0).integers(0, 4000, (16, 16, 7)).astype(np.uint16)
    tifffile.imwrite("a.tif", pixels, photometric="minisblack", planarconfig="contig")
    text = message(["a.tif"])
    assert text.endswith("for example bands=(4, 3, 2) (--bands 4,3,2).")
    extracts(["a.tif"], bands=(4, 3, 2))
    assert message(["a.tif"], bands=(4, 3, 9)).endswith("the TIFF has 7 bands, and no band 9; pass others (--bands).")


def test_arrays_and_features(photo: Path, in_folder: Path) -> None:
    for shape, words in (((5, 5, 2), "image[..., 0] for gray"), ((0, 4), "Remove the empty arrays")):
        assert words in message([np.zeros(shape, np.uint8)])
    np.save("x.npy", np.zeros((2, 3), np.float32))
    assert 'numpy.savez("data.npz"' in message("x.npy")
    Path("x.csv").write_text(f"row,path,label,digest\n0,{photo},x,\n")
    assert message("x.npy").endswith("If it has features, pass the table of their images, 'x.csv'.")
    extracts("x.csv")


def test_jobs(photo: Path, tmp_path: Path, in_folder: Path) -> None:
    plan_job(photo, "job", backbone="color_histogram", sample=0)
    with pytest.raises(SourceError, match="featx job merge job -o features.parquet"):
        find_images("job")
