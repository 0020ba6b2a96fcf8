"""Everything that needs TensorFlow: nothing outside this package may import it.

Importing this package settles how TensorFlow will start, since it reads these variables only once: oneDNN's
kernels also on processors for which TensorFlow leaves them off (by measurement 1.4 to 1.8 times as fast there),
and silence about devices that are not there. A value set by the user stays.
"""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
