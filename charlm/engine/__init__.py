"""The network in TensorFlow and Keras: model, training step, optimizer, scoring, several workers.

No other package imports TensorFlow. Call `charlm.engine.runtime.start` before importing any other module here: it
decides how TensorFlow starts.
"""
