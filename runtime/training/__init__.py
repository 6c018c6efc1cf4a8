"""Training: streamed data, spot-safe distributed jobs, two trainers behind one protocol, ONNX out.

``configuration`` says what to train, ``schema`` how raw features become numbers, ``dataset`` and ``loader`` where rows
come from, ``trainers`` fits, ``checkpoints`` survives interruption, ``evaluation`` judges.
"""
