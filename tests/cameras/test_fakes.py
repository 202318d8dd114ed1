"""Orbbec and OAK cameras with fakes of exactly the calls that are used, and missing packages."""

import datetime
import importlib
import types

import numpy as np
import pytest

from tfhand.cameras import interface, kinds

DEPTH = np.arange(12, dtype=np.uint16).reshape(3, 4)
NAMESPACE = types.SimpleNamespace


class OBError(Exception):
    """As in pyorbbecsdk."""


class FakeOrbbec:
    """The module `pyorbbecsdk` with a camera of each serial number."""

    def __init__(self, serials=("A1",), has_depth=True, is_free=True, fmt="Y16"):
        self.OBError, self.OBFormat = OBError, NAMESPACE(Y16="Y16")
        self.OBSensorType = NAMESPACE(DEPTH_SENSOR="depth")
        self.serials, self.has_depth, self.is_free, self.fmt = serials, has_depth, is_free, fmt
        self.frames, self.is_running, self.config = [], False, None

    def Context(self):
        return NAMESPACE(query_devices=lambda: self)

    def get_count(self):
        return len(self.serials)

    def get_device_serial_number_by_index(self, index):
        return self.serials[index]

    def get_device_by_serial_number(self, serial):
        assert serial in self.serials
        if not self.is_free:
            raise OBError("device is already opened")
        return serial

    def Config(self):
        return NAMESPACE(enable_stream=lambda profile: setattr(self, "config", profile))

    def Pipeline(self, device):
        return NAMESPACE(
            get_stream_profile_list=self.profiles,
            start=lambda config: setattr(self, "is_running", True),
            stop=lambda: setattr(self, "is_running", False),
            wait_for_frames=lambda timeout_ms: self.frames.pop(0) if self.frames else None,
        )

    def profiles(self, sensor):
        if not self.has_depth:
            raise OBError("no such sensor")
        lens = NAMESPACE(fx=300.0, fy=301.0, cx=2.0, cy=1.5)
        profile = NAMESPACE(get_fps=lambda: 15, get_intrinsic=lambda: lens)

        def wanted(width, height, fmt, rate):
            raise OBError("no such profile")

        return NAMESPACE(
            get_video_stream_profile=wanted, get_default_video_stream_profile=lambda: profile
        )

    def frame(self):
        depth = NAMESPACE(
            get_format=lambda: self.fmt,
            get_data=lambda: DEPTH.view(np.uint8).ravel(),
            get_height=lambda: 3,
            get_width=lambda: 4,
            get_depth_scale=lambda: 0.25,
            get_system_timestamp_us=lambda: 7000,
        )
        return NAMESPACE(get_depth_frame=lambda: depth)


class QueueError(Exception):
    """As in depthai."""


class FakeOak:
    """The module `depthai` with a camera of each number."""

    def __init__(self, serials=("B1",), has_depth=True, is_free=True):
        self.MessageQueue = NAMESPACE(QueueException=QueueError)
        self.node = NAMESPACE(StereoDepth=self)
        self.serials, self.has_depth, self.is_free = serials, has_depth, is_free
        self.frames, self.is_running = [self.frame()], False
        self.Device = FakeOakDevice
        FakeOakDevice.sdk = self

    def build(self, autoCreateCameras, fps):
        assert autoCreateCameras and fps == 30.0
        return NAMESPACE(depth=NAMESPACE(createOutputQueue=self.queue))

    def queue(self, maxSize, blocking):
        assert maxSize == 1 and not blocking
        return NAMESPACE(get=self.get)

    def get(self, timeout):
        assert isinstance(timeout, datetime.timedelta)
        if not self.is_running:
            raise QueueError("closed")
        return self.frames.pop(0) if self.frames else None

    def Pipeline(self, device):
        return NAMESPACE(
            create=lambda node: node,
            start=lambda: setattr(self, "is_running", True),
            stop=lambda: setattr(self, "is_running", False),
        )

    def frame(self):
        matrix = [[400.0, 0.0, 2.0], [0.0, 401.0, 1.5], [0.0, 0.0, 1.0]]
        return NAMESPACE(
            getTransformation=lambda: NAMESPACE(getIntrinsicMatrix=lambda: matrix),
            getTimestamp=lambda: datetime.timedelta(seconds=2),
            getFrame=lambda: DEPTH,
        )


class FakeOakDevice:
    sdk = None

    def __init__(self, info):
        if not self.sdk.is_free:
            raise RuntimeError("X_LINK_DEVICE_ALREADY_IN_USE")

    @classmethod
    def getAllConnectedDevices(cls):
        return [NAMESPACE(getDeviceId=lambda serial=serial: serial) for serial in cls.sdk.serials]

    def getAvailableStereoPairs(self):
        return ["pair"] if self.sdk.has_depth else []

    def close(self):
        pass


@pytest.fixture
def install(monkeypatch):
    """A function that puts a fake in the place of a package."""

    def put(module, fake):
        original = importlib.import_module
        monkeypatch.setattr(
            importlib, "import_module", lambda name: fake if name == module else original(name)
        )
        return fake

    return put


def test_orbbec(install):
    sdk = install("pyorbbecsdk", FakeOrbbec(("A1", "A2")))
    with kinds.open_camera("orbbec", "A2") as opened:
        assert sdk.is_running and sdk.config is not None
        assert (opened.serial, opened.frame_rate) == ("A2", 15.0)
        np.testing.assert_array_equal(opened.intrinsics, [300.0, 301.0, 2.0, 1.5])
        sdk.frames += [None, NAMESPACE(get_depth_frame=lambda: None), sdk.frame()]
        assert opened.poll() is None and opened.poll() is None
        frame = opened.poll()
    np.testing.assert_array_equal(frame.depth_mm, DEPTH * 0.25)
    assert frame.time_ms == 7.0 and not sdk.is_running


def test_oak(install):
    sdk = install("depthai", FakeOak(("B1", "B2")))
    with kinds.open_camera("oak", "B2") as opened:
        assert sdk.is_running and opened.serial == "B2"
        np.testing.assert_array_equal(opened.intrinsics, [400.0, 401.0, 2.0, 1.5])
        assert opened.poll() is None
        sdk.frames.append(sdk.frame())
        frame = opened.poll()
        np.testing.assert_array_equal(frame.depth_mm, DEPTH)
        assert frame.time_ms == 2000.0
        # Unplugged.
        sdk.is_running = False
        with pytest.raises(interface.CameraError, match=r"oak camera B2: closed\. Is it"):
            opened.poll()


@pytest.mark.parametrize(
    ("kind", "module", "fake"), [("orbbec", "pyorbbecsdk", FakeOrbbec), ("oak", "depthai", FakeOak)]
)
def test_bad_devices(kind, module, fake, install):
    sdk = install(module, fake(("1", "2")))
    with pytest.raises(interface.CameraError, match=f"Expected {kind} camera 3, found 1, 2"):
        kinds.open_camera(kind, "3")
    sdk.is_free = False
    with pytest.raises(interface.CameraError, match=f"{kind} camera 1: .*(?i:already)"):
        kinds.open_camera(kind)
    sdk.is_free, sdk.has_depth = True, False
    with pytest.raises(interface.CameraError, match=f"stream of depth from {kind} camera 1, found"):
        kinds.open_camera(kind)
    sdk.serials = ()
    with pytest.raises(interface.CameraError, match=f"kind {kind}, found none"):
        kinds.open_camera(kind)


def test_orbbec_depth_of_another_form(install):
    sdk = install("pyorbbecsdk", FakeOrbbec(fmt="RLE"))
    with kinds.open_camera("orbbec") as opened:
        sdk.frames.append(sdk.frame())
        with pytest.raises(interface.CameraError, match="16-bit depth of orbbec camera A1"):
            opened.poll()


def test_an_oak_that_sends_nothing(install, monkeypatch):
    monkeypatch.setattr("tfhand.cameras.oak._FIRST_S", 0.01)
    sdk = install("depthai", FakeOak())
    sdk.frames.clear()
    with pytest.raises(interface.CameraError, match="frames of oak camera B1, received none"):
        kinds.open_camera("oak")
    assert not sdk.is_running


@pytest.mark.parametrize(
    ("kind", "package"),
    [("realsense", "pyrealsense2"), ("orbbec", "pyorbbecsdk2"), ("oak", "depthai")],
)
def test_missing_packages_name_the_extra(kind, package, monkeypatch):
    original = importlib.import_module

    def refuse(name):
        if name.startswith("tfhand"):
            return original(name)
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(interface.CameraError, match=f"{package}, found none.*extra '{kind}'"):
        kinds.open_camera(kind)


def test_a_package_without_its_library(monkeypatch):
    def refuse(name):
        raise ImportError("libusb-1.0.so.0: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(interface.CameraError, match=r"load the package pyrealsense2: libusb-1\.0"):
        interface.import_sdk("pyrealsense2", "pyrealsense2", "realsense")
