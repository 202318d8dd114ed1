"""The configuration files of `serving/`."""

import pathlib
import re

import google.protobuf.text_format

from tfhand.models import exporting

SERVING = pathlib.Path(__file__).resolve().parents[2] / "serving"


def test_models_are_those_that_are_exported(serving_api):
    from tensorflow_serving.config import model_server_config_pb2

    parsed = google.protobuf.text_format.Parse(
        (SERVING / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
    )
    configs = parsed.model_config_list.config
    served = {config.name: config.base_path for config in configs}
    assert served == {"pose": "/models/pose", "prior": "/models/prior"}


def test_compose_mounts_the_files_it_names():
    text = (SERVING / "docker-compose.yml").read_text()
    named = set(re.findall(r"_file=/config/(\S+)", text))
    mounted = dict(re.findall(r'"\./(\S+):/config/(\S+):ro"', text))
    assert named == set(mounted.values()) == {p.name for p in SERVING.glob("*.config")}
    assert all((SERVING / name).is_file() for name in mounted)


def test_batching_is_set_in_one_place():
    # The server takes threads from its own file and the rest from the model's.
    threads = re.findall(r"^(\w+) *\{", (SERVING / "batching.config").read_text(), re.MULTILINE)
    rest = re.findall(r"^(\w+) *\{", exporting._BATCHING.read_text(), re.MULTILINE)
    assert threads == ["num_batch_threads", "thread_pool_name"]
    assert rest and not set(rest) & set(threads)
