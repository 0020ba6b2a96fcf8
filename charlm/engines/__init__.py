"""The network in TensorFlow and Keras: model, training step, optimizer, compiled kernel, workers.

No other package imports TensorFlow. Call `charlm.engines.factory.start` before you import any other
module of this package: it configures TensorFlow.
"""
