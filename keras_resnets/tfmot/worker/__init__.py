"""What runs in a process of its own, where TensorFlow's Keras is Keras 2 (`tf_keras`).

tensorflow-model-optimization knows nothing else, and switches TensorFlow over when it is
imported. `tfmot.bridge` starts the process; nothing here loads Keras 3, and
the two talk through files and lines of JSON.
"""
