"""ONNX graphs that take raw features: the input schema as nodes, with a model's body behind it.

Inputs, in the order of the schema (the graph's metadata carries the schema itself under ``input_schema``):

- ``categorical`` string [rows, categoricals], "" where missing (left out if there are none);
- ``numerical`` float32 [rows, numericals], NaN where missing (left out if there are none).

Output: ``probability`` float32 [rows], of label 1.

Categories travel as strings, not codes: the vocabulary is part of the graph, so that nothing outside it can number
categories in another way than training did.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.training.schema import FIRST_CODE, MISSING, UNKNOWN, InputSchema

CATEGORICAL: Final = "categorical"
NUMERICAL: Final = "numerical"
PROBABILITY: Final = "probability"
_OPSETS: Final = (("", 18), ("ai.onnx.ml", 3))
_IR_VERSION: Final = 9


class GraphBuilder:
    """Collects nodes; every method returns the name of what its nodes make."""

    def __init__(self, schema: InputSchema) -> None:
        self.schema = schema
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def node(self, operator: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> str:
        """The first output; the others have the same name with ``.1``, ``.2``... behind it."""
        name = f"{operator.lower()}_{len(self._nodes)}"
        names = [name if i == 0 else f"{name}.{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, name=name, domain=domain, **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=dtype), name))
        return name

    def codes(self) -> str:
        """int64 [rows, categoricals]."""
        columns = []
        for position, feature in enumerate(self.schema.categoricals):
            column = self.node("Gather", CATEGORICAL, self.constant([position], np.int64), axis=1)
            columns.append(
                self.node(
                    "LabelEncoder",
                    column,
                    domain="ai.onnx.ml",
                    keys_strings=["", *feature.vocabulary],
                    values_int64s=[MISSING, *range(FIRST_CODE, feature.codes)],
                    default_int64=UNKNOWN,
                )
            )
        return self.node("Concat", *columns, axis=1)

    def offset_codes(self) -> str:
        """Codes counted through all columns, as the one table of embeddings or weights has them."""
        sizes = [feature.codes for feature in self.schema.categoricals]
        starts = [sum(sizes[:position]) for position in range(len(sizes))]
        return self.node("Add", self.codes(), self.constant(starts, np.int64))

    def normalised(self) -> str:
        """float32 [rows, normalised_width]: what InputSchema.normalise computes."""
        schema = self.schema
        mean, scale = schema.mean_and_scale()
        missing = self.node("IsNaN", NUMERICAL)
        scaled = self.node("Mul", self.node("Sub", NUMERICAL, self.constant(mean)), self.constant(scale))
        clipped = self.node("Clip", scaled, self.constant(-schema.clip), self.constant(schema.clip))
        normal = self.node("Where", missing, self.constant(0.0), clipped)
        if not schema.nullable_indices:
            return normal
        flags = self.node("Cast", missing, to=TensorProto.FLOAT)
        chosen = self.node("Gather", flags, self.constant(schema.nullable_indices, np.int64), axis=1)
        return self.node("Concat", normal, chosen, axis=1)

    def linear(self, x: str, weight: Any, bias: Any) -> str:
        """``x @ weight.T + bias``."""
        return self.node("Gemm", x, self.constant(weight), self.constant(bias), transB=1)

    def build(self, kind: str, probability: str) -> onnx.ModelProto:
        """``probability`` names a float32 [rows] tensor.  Raises onnx.checker.ValidationError for a wrong graph."""
        schema = self.schema
        self._nodes.append(helper.make_node("Identity", [probability], [PROBABILITY], name=PROBABILITY))
        inputs = []
        if schema.categoricals:
            inputs.append(
                helper.make_tensor_value_info(CATEGORICAL, TensorProto.STRING, ["rows", len(schema.categoricals)])
            )
        if schema.numericals:
            inputs.append(helper.make_tensor_value_info(NUMERICAL, TensorProto.FLOAT, ["rows", len(schema.numericals)]))
        graph = helper.make_graph(
            self._nodes,
            kind,
            inputs,
            [helper.make_tensor_value_info(PROBABILITY, TensorProto.FLOAT, ["rows"])],
            self._constants,
        )
        model = helper.make_model(
            graph,
            producer_name="falaj",
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in _OPSETS],
        )
        helper.set_model_props(
            model, {"kind": kind, "input_schema": schema.model_dump_json(), "input_schema_digest": schema.digest}
        )
        onnx.checker.check_model(model)
        return model
