"""The code of the separate process, where TensorFlow's Keras is Keras 2 (`tf_keras`).

tensorflow-model-optimization supports nothing else, and switches TensorFlow over when it
is imported. `tfmot.bridge` starts the process; nothing here loads Keras 3, and the two
communicate through files and lines of JSON.
"""
