"""A model that gives no probability where a number is above all that its reference rows hold."""

import onnx
from loanloop_common.bundle import pack, unpack
from onnx import TensorProto, helper

NUMBER = "approved_amount"
ABOVE = 9e7  # the encoder clips it to the largest number that it was fitted on


def silent_above(data: bytes) -> bytes:
    """The bundle, whose graph gives NaN for a loan of so large a NUMBER. Its reference rows score as before."""
    bundle = unpack(data)
    place = [part.name for part in bundle.encoder.numbers].index(NUMBER)
    chosen = [float(part.name == NUMBER) for part in bundle.encoder.numbers]
    limit = max(row[place] for row in bundle.manifest.reference.x_num) + 1e-3
    network = onnx.load_model_from_string(bundle.model)
    output = network.graph.output[0].name
    for node in network.graph.node:
        node.output[:] = ["scores" if name == output else name for name in node.output]
    network.graph.initializer.extend(
        [
            helper.make_tensor("place", TensorProto.FLOAT, [len(chosen), 1], chosen),
            helper.make_tensor("limit", TensorProto.FLOAT, [1], [limit]),
        ]
    )
    network.graph.node.extend(
        [
            helper.make_node("MatMul", ["x_num", "place"], ["number"]),
            helper.make_node("Sub", ["limit", "number"], ["left"]),
            helper.make_node("Sqrt", ["left"], ["root"]),
            helper.make_node("Div", ["root", "root"], ["one_or_none"]),
            # Without it, a factor for each row, OpenVINO 2026.4.1 was seen to end the process as it compiled the graph.
            helper.make_node("Concat", ["one_or_none", "one_or_none"], ["ones_or_none"], axis=1),
            helper.make_node("Mul", ["scores", "ones_or_none"], [output]),
        ]
    )
    return pack(bundle.manifest, bundle.encoder, network.SerializeToString())
