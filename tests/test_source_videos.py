"""Videos as sources come back as they were written, and damaged ones in one line."""

from __future__ import annotations

import numpy as np
from source_files import film, noise, refusal, written

from polyfield.data import kept
from polyfield.data.videos import open_video


def frames(count: int = 8, height: int = 12, width: int = 16) -> np.ndarray:
    """Frames that differ, and that a codec keeps."""
    t, y, x = np.mgrid[:count, :height, :width]
    return np.uint8(np.stack((30 * t, 12 * y, 12 * x), -1))


def test_a_video_is_its_frames(tmp_path):
    video = open_video(written(tmp_path / "a.mp4", film(frames(), sound=True)))
    assert video.values.shape == (8, 12, 16, 3) and video.values.dtype == np.uint8
    assert np.abs(video.values.astype(int) - frames()).max() < 12
    assert (video.name, video.fps, len(video.sha256), video.notes) == ("a", 25.0, 64, ())
    assert "a.mp4 is a video: 8 frames, 25 a second, 16 x 12." in video.found


def test_downscale_takes_box_means_and_crops_at_the_right_and_bottom(tmp_path):
    path = written(tmp_path / "a.mp4", film(frames(3, 14, 22)))
    whole, small = open_video(path), open_video(path, downscale=4)
    boxes = whole.values[:, :12, :20].reshape(3, 3, 4, 5, 4, 3).astype(np.float64)
    assert np.array_equal(small.values, np.floor(boxes.mean(axis=(2, 4)) + 0.5))
    assert "downscaled to 5 x 3" in small.found
    assert "a.mp4: it has 22 x 14 pixels; --downscale 15 is larger than one side" in refusal(
        path, "video", downscale=15
    )


def test_large_videos_lie_in_a_file(tmp_path, monkeypatch):
    path = written(tmp_path / "a.mp4", film(frames()))
    plain, shares = open_video(path).values, []
    monkeypatch.setattr(kept, "IN_MEMORY", plain.nbytes - 1)
    mapped = open_video(path, progress=lambda share, doing="": shares.append(share)).values
    assert isinstance(mapped, np.memmap) and mapped.mode == "r" and np.array_equal(mapped, plain)
    assert len(shares) == 8 and shares[-1] == 1 and shares == sorted(shares)


def test_bad_files_are_one_line(tmp_path):
    noisy = film(noise(10, 48, 64, 3), "avi")
    cut = written(tmp_path / "a.avi", noisy[: len(noisy) // 2])
    assert "a.avi is truncated or damaged (the data of a frame end too early)" in refusal(cut, "video")
    for data, words in (
        (b"", "a.mp4 is empty (0 bytes)"),
        (b"hello\n" * 50, "a.mp4 cannot be decoded (Invalid data found when processing input)"),
        (film(frames())[:500], "a.mp4 cannot be decoded (Invalid data found"),
        (film(frames(0), sound=True), "a.mp4: it holds no video, but audio; expected a file with a video"),
    ):
        assert words in refusal(written(tmp_path / "a.mp4", data), "video")


def test_a_video_without_frames_is_refused(tmp_path):
    import av

    with av.open(str(tmp_path / "a.avi"), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 16, 12
        container.start_encoding()
    assert "a.avi: it holds a video without frames; export it again" in refusal(tmp_path / "a.avi", "video")
