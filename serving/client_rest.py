"""Asks a TensorFlow Serving server over REST for the hand in a depth picture.

    python client_rest.py --server=http://localhost:8501 --depth=FRAME.png --intrinsics=fx,fy,cx,cy

Needs numpy and pillow. JSON has no 16-bit integers in TensorFlow Serving, and a picture is some
2 MB of text: for video use client_grpc.py.
"""

import http.client
import json
import urllib.error
import urllib.request

import client_io
import numpy as np


def ask(options, inputs):
    """Sends one predict request.

    Args:
        options: Of `client_io.parse`.
        inputs: Dict of arrays.

    Returns:
        Dict of nested lists, the signature's outputs.

    Raises:
        client_io.ClientError: If there is no answer, or it is an error.
    """
    server = options.server if "://" in options.server else f"http://{options.server}"
    if not server.startswith(("http://", "https://")):
        raise client_io.ClientError(f"Expected --server=http://HOST:PORT, received {server}.")
    # Hundredths of a mm: digits beyond are noise, and bytes.
    lists = {k: np.round(v.astype(np.float64), 2).tolist() for k, v in inputs.items()}
    body = {"signature_name": "frame" if options.strict else "frames", "inputs": lists}
    request = urllib.request.Request(
        f"{server.rstrip('/')}/v1/models/{options.model}:predict",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=options.timeout) as response:
            return json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        raise client_io.ClientError(f"HTTP {error.code}: {_message(error.read())}") from error
    except http.client.InvalidURL as error:
        raise client_io.ClientError(f"Expected --server=http://HOST:PORT: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise client_io.ClientError(f"No answer from {server}: {reason}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise client_io.ClientError(
            f"Expected the answer of TensorFlow Serving from {server}, received something else."
        ) from error


def _message(body):
    try:
        return json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:200]


if __name__ == "__main__":
    client_io.run(ask, client_io.parse(__doc__.splitlines()[0], "http://localhost:8501"))
