"""A server that answers Predict as TensorFlow Serving does, for tests on machines without it.

    python server.py pose=DIR/pose/1 prior=DIR/prior/1

Each SavedModel is loaded into a session and fed by tensor names, as the real server does: shapes
are checked by nothing but the model. Its warm-up requests are replayed, and it serves gRPC and REST
on free ports of the loopback, which are printed as one line of JSON. Ends when stdin closes. This
package cannot be imported here.

Status codes and the rules for inputs are those of TensorFlow Serving 2.20 (predict_util.cc and
json_tensor.cc there); messages are this file's own. No batching.
"""

import concurrent.futures
import http.server
import importlib.abc
import json
import pathlib
import sys
import threading

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import (
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

# Types that JSON requests can hold; uint16 is not among them.
JSON_TYPES = (tf.float32, tf.float64, tf.int32, tf.int64, tf.uint8, tf.bool)
HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 412,
    grpc.StatusCode.UNIMPLEMENTED: 501,
}


class NoPackage(importlib.abc.MetaPathFinder):
    """Makes importing this repository fail."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] in ("tfhand", "data_prep", "tests"):
            raise ImportError(f"{fullname} is not for the server")


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Model:
    """One version of a SavedModel."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.load(self.session, ["serve"], str(directory))
        self.signatures = {
            name: signature
            for name, signature in meta_graph.signature_def.items()
            if not name.startswith("__")
        }
        self.callables = {}
        self.lock = threading.Lock()

    def signature(self, name):
        if name not in self.signatures:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
            )
        return self.signatures[name]

    def warm_up(self):
        """Replays the SavedModel's own requests; an error is one of loading."""
        path = self.directory / "assets.extra" / "tf_serving_warmup_requests"
        names = []
        if path.exists():
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                log = prediction_log_pb2.PredictionLog.FromString(record)
                self.predict(log.predict_log.request)
                names.append(log.predict_log.request.model_spec.signature_name)
        return names

    def predict(self, request):
        """Returns a `PredictResponse` to a `PredictRequest`."""
        name = request.model_spec.signature_name or "serving_default"
        signature = self.signature(name)
        fed = self._inputs(signature, request.inputs)
        outputs = list(request.output_filter) or sorted(signature.outputs)
        for alias in outputs:
            if alias not in signature.outputs:
                refuse(f"output {alias} is not one of {sorted(signature.outputs)}")
        try:
            values = self._run(signature, outputs, fed)
        except (tf.errors.OpError, ValueError) as error:
            if isinstance(error, tf.errors.InvalidArgumentError):
                refuse(error.message)
            raise Refused(grpc.StatusCode.INTERNAL, str(error)) from error
        response = predict_pb2.PredictResponse()
        response.model_spec.signature_name = name
        for alias, value in zip(outputs, values):
            response.outputs[alias].CopyFrom(tf.make_tensor_proto(value))
        return response

    def _inputs(self, signature, given):
        """Tensor name to value, for all inputs of a signature."""
        for alias in given:
            if alias not in signature.inputs:
                refuse(f"input {alias} is not one of {sorted(signature.inputs)}")
        fed = {}
        for alias, info in signature.inputs.items():
            if alias not in given and alias not in signature.defaults:
                refuse(f"input {alias} is missing and has no default")
            proto = given[alias] if alias in given else signature.defaults[alias]
            if proto.dtype != info.dtype:
                expected, found = tf.dtypes.as_dtype(info.dtype), tf.dtypes.as_dtype(proto.dtype)
                refuse(f"input {alias} is {found.name}, expected {expected.name}")
            try:
                fed[info.name] = tf.make_ndarray(proto)
            except (ValueError, TypeError) as error:
                refuse(f"input {alias} cannot be read: {error}")
        return fed

    def _run(self, signature, outputs, fed):
        fetched = [signature.outputs[alias].name for alias in outputs]
        key = (*fed, *fetched)
        with self.lock:
            if key not in self.callables:
                options = config_pb2.CallableOptions(feed=list(fed), fetch=fetched)
                # `Session.run` would check shapes, which the real server leaves to the model.
                self.callables[key] = self.session._make_callable_from_options(options)
        return self.callables[key](*fed.values())


def refuse(message):
    raise Refused(grpc.StatusCode.INVALID_ARGUMENT, message)


class Models(dict):
    """Models by name; answers requests that name one."""

    def named(self, name):
        if name not in self:
            raise Refused(
                grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({name})"
            )
        return self[name]

    def predict(self, request):
        response = self.named(request.model_spec.name).predict(request)
        response.model_spec.name = request.model_spec.name
        return response

    def predict_json(self, name, body):
        """Answers the body of `POST /v1/models/<name>:predict`."""
        try:
            call = json.loads(body)
            inputs = call["inputs"]
        except (ValueError, KeyError, TypeError) as error:
            refuse(f"JSON Parse error: {error!r}")
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.model_spec.signature_name = call.get("signature_name", "serving_default")
        signature = self.named(name).signature(request.model_spec.signature_name)
        # Unlike gRPC, REST knows no defaults, and leaves out what the signature does not name.
        for alias in signature.inputs:
            if alias not in inputs:
                refuse(f"Missing named input: {alias} in 'inputs' object.")
            dtype = tf.dtypes.as_dtype(signature.inputs[alias].dtype)
            if dtype not in JSON_TYPES:
                raise Refused(
                    grpc.StatusCode.UNIMPLEMENTED,
                    f"Conversion of JSON Value of input {alias} to type: {dtype.name}",
                )
            try:
                array = np.array(inputs[alias], dtype.as_numpy_dtype)
            except (ValueError, TypeError) as error:
                refuse(f"input {alias} cannot be read: {error}")
            request.inputs[alias].CopyFrom(tf.make_tensor_proto(array))
        response = self.predict(request)
        outputs = {k: tf.make_ndarray(v).tolist() for k, v in response.outputs.items()}
        # A single output goes without its name.
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The gRPC interface."""

    def __init__(self, models):
        self.models = models

    def Predict(self, request, context):
        try:
            return self.models.predict(request)
        except Refused as error:
            context.abort(error.code, str(error))
        except Exception as error:
            context.abort(grpc.StatusCode.INTERNAL, repr(error))


class RestHandler(http.server.BaseHTTPRequestHandler):
    """The part of the REST interface that the client uses."""

    models = None

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        name, _, verb = self.path.removeprefix("/v1/models/").partition(":")
        if not self.path.startswith("/v1/models/") or verb != "predict":
            return self._answer(404, {"error": f"Malformed request: POST {self.path}"})
        try:
            return self._answer(200, self.models.predict_json(name, body))
        except Refused as error:
            return self._answer(HTTP_STATUS.get(error.code, 500), {"error": str(error)})

    def _answer(self, status, content):
        encoded = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, *unused):
        """Keeps quiet."""


def main(arguments):
    sys.meta_path.insert(0, NoPackage())
    models = Models()
    warmed_up = {}
    for argument in arguments:
        name, _, directory = argument.partition("=")
        models[name] = Model(directory)
        warmed_up[name] = models[name].warm_up()
    # Frames are larger than the 4 MB that gRPC allows by default; the real server sets no limit.
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(max_workers=2),
        options=[("grpc.max_receive_message_length", -1)],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(models), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    RestHandler.models = models
    rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RestHandler)
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    if any(module.split(".")[0] in ("tfhand", "data_prep") for module in sys.modules):
        raise AssertionError("the server has imported the package")
    ready = {"grpc": port, "rest": rest.server_address[1], "warmed_up": warmed_up}
    print(json.dumps(ready), flush=True)
    sys.stdin.read()
    rest.shutdown()
    server.stop(grace=None).wait()


if __name__ == "__main__":
    main(sys.argv[1:])
