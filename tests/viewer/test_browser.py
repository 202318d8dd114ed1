"""The real command in a subprocess, seen and used through a real browser.

Needs the extra `viewer`, and chromium with chromedriver. Where one of them is missing the tests
skip and say so; with TFHAND_REQUIRE_BROWSER=1 they fail instead.
"""

import base64
import importlib.util
import io
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Starting TensorFlow on a busy machine takes most of it.
START_S = 120
ANSWER_S = 60
BROWSER_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--use-gl=angle",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1000,600",
)  # fmt: skip
# Answers with a data URL, empty while one picture is exchanged for the next.
READ_IMAGE = """
const done = arguments[0];
// The others are small icons.
const area = (image) => image.naturalWidth * image.naturalHeight;
const [image] = [...document.images].sort((a, b) => area(b) - area(a));
const read = (blob) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result);
  reader.readAsDataURL(blob);
};
if (!image) done("");
else fetch(image.src).then((answer) => answer.blob()).then(read).catch(() => done(""));
"""


def find_missing():
    """What the tests need and this machine lacks."""
    missing = [name for name in ("viser", "selenium") if importlib.util.find_spec(name) is None]
    return missing + [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]


@pytest.fixture(scope="module", autouse=True)
def _needed():
    missing = find_missing()
    if not missing:
        return
    reason = f"no {', '.join(missing)}: see docs/viewer.md"
    if os.environ.get("TFHAND_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


class Command:
    """`python -m tfhand.view` on a free port."""

    def __init__(self, log, *arguments):
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # Jobs in the background inherit that, and would not end by Ctrl-C.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.log, self._url = log, None
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tfhand.view", "--port=0", *map(str, arguments)],
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
            )

    def url(self):
        """Waits for the line that the command prints."""
        if self._url:
            return self._url
        alarm = threading.Timer(START_S, self.process.kill)
        alarm.start()
        line = self.process.stdout.readline()
        alarm.cancel()
        assert line.startswith("http://127.0.0.1:"), f"{line!r}\n{self.log.read_text()}"
        self._url = line.split()[0]
        return self._url

    def interrupt(self):
        """Presses Ctrl-C; returns (exit status, the rest of the output)."""
        self.url()
        self.process.send_signal(signal.SIGINT)
        output, _ = self.process.communicate(timeout=ANSWER_S)
        return self.process.returncode, output

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def ball_frame():
    """A ball as large as a fist 700 mm away, float32 [120, 160], 0 where there is none."""
    rows, columns = np.mgrid[:120, :160]
    side_mm = np.hypot(columns - 90.0, rows - 60.0) * 700.0 / 588.0
    half_chord = np.sqrt(np.maximum(45.0**2 - side_mm**2, 0.0))
    return np.where(side_mm < 45.0, 700.0 - half_chord, 0.0).astype(np.float32)


@pytest.fixture(scope="module")
def running(recording_dir, model_path, tmp_path_factory):
    """The commands that show the recording and the hand to pose; they start side by side."""
    logs = tmp_path_factory.mktemp("logs")
    frames = tmp_path_factory.mktemp("frames")
    np.save(frames / "1.npy", ball_frame())
    np.save(frames / "2.npy", np.zeros([120, 160], np.float32))
    np.save(frames / "3.npy", ball_frame())
    recording = ("--data_dir", recording_dir, "--split=test", "--model", model_path)
    started = {
        "recording": Command(logs / "recording.txt", *recording),
        "posing": Command(logs / "posing.txt"),
        "frames": Command(
            logs / "frames.txt", "--depth", frames, "--model", model_path,
            "--intrinsics=588,588,80,60",
        ),
    }  # fmt: skip
    yield started
    for command in started.values():
        command.end()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*BROWSER_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


class Page:
    """What a person does and sees on the page."""

    def __init__(self, browser, url):
        self.browser = browser
        browser.get(url)

    def wait(self, condition, what):

        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.support.ui import WebDriverWait

        # Elements come and go while the page changes.
        waiting = WebDriverWait(self.browser, ANSWER_S, 0.2, [WebDriverException])
        return waiting.until(lambda _: condition(), f"waited for {what}")

    def text(self):
        return self.browser.find_element("tag name", "body").text

    def wait_for_text(self, *texts):
        for text in texts:
            self.wait(lambda text=text: text in self.text(), repr(text))

    def control(self, label):
        """The control that a label belongs to."""
        text = self.browser.find_element("xpath", f"//label[normalize-space(.)='{label}']")
        return self.browser.find_element("id", text.get_attribute("for"))

    def push_slider(self, label, steps):
        from selenium.webdriver.common.keys import Keys

        thumb = self.control(label).find_element("css selector", "[role=slider]")
        self.browser.execute_script("arguments[0].focus()", thumb)
        for _ in range(steps):
            thumb.send_keys(Keys.ARROW_RIGHT)

    def slider_value(self, label):
        thumb = self.control(label).find_element("css selector", "[role=slider]")
        return float(thumb.get_attribute("aria-valuenow"))

    def press(self, label):
        self.browser.find_element("xpath", f"//button[contains(., '{label}')]").click()

    def toggle(self, label):
        self.browser.execute_script("arguments[0].click()", self.control(label))

    def picture(self):
        """Pixels of the picture in the panel."""
        return self.wait(self._pictures, "a picture")[0]

    def _pictures(self):
        kind, _, data = self.browser.execute_async_script(READ_IMAGE).partition(",")
        if not kind.startswith(("data:image/jpeg", "data:image/png")):
            return []
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))]

    def drawn_share(self):
        """Share of the scene's pixels that are not background."""
        # Notes lie over the scene: a software renderer is noted.
        for note in self.browser.find_elements("css selector", "[class*=Notification-closeButton]"):
            self.browser.execute_script("arguments[0].click()", note)
        canvases = self.browser.find_elements("css selector", "canvas")
        canvas = max(canvases, key=lambda c: c.size["width"] * c.size["height"])
        pixels = np.asarray(Image.open(io.BytesIO(canvas.screenshot_as_png)).convert("RGB"))
        # The panel covers the right of the canvas in a narrow window.
        pixels = pixels[100:, : pixels.shape[1] // 2].astype(int)
        return (np.abs(pixels - pixels[-1, 0]).max(axis=-1) > 12).mean()


def test_a_recording_can_be_looked_through(running, browser):
    page = Page(browser, running["recording"].url())
    page.wait_for_text(
        "test, subject anna, frame 70", "median of the cameras: mean error", "camera 2: mean error",
        "Sample", "Estimate", "Depth crops", "Points 2", "Spheres", "Skeleton", "Labels",
    )  # fmt: skip
    page.wait(lambda: page.drawn_share() > 0.02, "a scene that is not blank")
    before = page.picture()
    assert before.std() > 10.0
    page.push_slider("Sample", 2)
    page.wait_for_text("frame 92")
    changed_picture(page, before)
    # What was seen are the hand's nodes: without them the scene is empty.
    for label in ("Points 1", "Points 2", "Spheres", "Skeleton", "Labels"):
        page.toggle(label)
    page.wait(lambda: page.drawn_share() < 0.001, "an empty scene")
    page.toggle("Points 1")
    page.wait(lambda: page.drawn_share() > 0.001, "the points of a camera")


def test_frames_of_a_camera_can_be_looked_through(running, browser):
    page = Page(browser, running["frames"].url())
    page.wait_for_text("1.npy", "no labels", "Points 1", "Spheres", "Skeleton")
    page.wait(lambda: page.drawn_share() > 0.005, "a scene that is not blank")
    before = page.picture()
    assert before.std() > 10.0
    # One without a hand says so and shows nothing of the one before.
    page.push_slider("Sample", 1)
    page.wait_for_text("Not shown:", "2.npy")
    page.wait(lambda: page.drawn_share() < 0.001, "an empty scene")
    page.push_slider("Sample", 1)
    page.wait_for_text("3.npy")
    page.wait(lambda: page.drawn_share() > 0.005, "the scene again")
    # The third frame is the first once more.
    np.testing.assert_array_equal(page.picture(), before)


def test_a_hand_can_be_posed(running, browser):
    page = Page(browser, running["posing"].url())
    page.wait_for_text(
        "Random pose", "Rest pose", "Depth map", "Azimuth", "INDEX, degrees", "WRIST, degrees",
        "Shape, percent", "pixels show a surface",
    )  # fmt: skip
    page.wait(lambda: page.drawn_share() > 0.02, "a scene that is not blank")
    at_rest, rest_text = page.picture(), text_of_depth(page)
    page.push_slider("Azimuth", 5)
    page.wait(lambda: text_of_depth(page) != rest_text, "another text")
    turned = changed_picture(page, at_rest)
    page.press("Random pose")
    page.wait(lambda: page.slider_value("1_FLEX") != 0.0, "moved sliders")
    posed = changed_picture(page, turned)
    assert not np.array_equal(posed, at_rest)
    page.press("Rest pose")
    page.wait(lambda: text_of_depth(page) == rest_text, "the first text")
    page.wait(lambda: np.array_equal(at_rest, page.picture()), "the first picture")
    assert page.slider_value("1_FLEX") == 0.0


def text_of_depth(page):
    return next((line for line in page.text().splitlines() if "show a surface" in line), "")


def changed_picture(page, before):
    """Waits for a picture that is another than before, and returns it."""
    page.wait(lambda: not np.array_equal(before, page.picture()), "another picture")
    return page.picture()


def test_control_c_ends_it(running):
    for command in running.values():
        status, output = command.interrupt()
        assert status == 0, command.log.read_text()
        assert not output.strip()
        assert "Traceback" not in command.log.read_text()
