"""Asks a TensorFlow Serving server over gRPC for the hand in a depth picture.

    python client_grpc.py --server=localhost:8500 --depth=FRAME.png --intrinsics=fx,fy,cx,cy

Needs numpy, pillow and tensorflow-serving-api, which brings grpcio and tensorflow.
"""

import os
import sys

import client_io
import numpy as np

# Set before TensorFlow is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

try:
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
except ImportError as error:
    sys.exit(f"client_grpc.py: pip install tensorflow-serving-api pillow ({error})")


def ask(options, inputs):
    """Sends one predict request.

    Args:
        options: Of `client_io.parse`.
        inputs: Dict of arrays.

    Returns:
        Dict of arrays, the signature's outputs.

    Raises:
        client_io.ClientError: If there is no answer, or it is an error.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = options.model
    request.model_spec.signature_name = "frame" if options.strict else "frames"
    if inputs["depth_mm"].dtype == np.uint16:
        # Half the bytes.
        request.model_spec.signature_name += "_uint16"
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    request.output_filter.extend(client_io.OUTPUTS)
    with grpc.insecure_channel(options.server) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            response = stub.Predict(request, timeout=options.timeout)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                message = f"No answer from {options.server}: {error.details()}"
            else:
                message = f"{error.code().name}: {error.details()}"
            raise client_io.ClientError(message) from error
    return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}


if __name__ == "__main__":
    client_io.run(ask, client_io.parse(__doc__.splitlines()[0], "localhost:8500"))
