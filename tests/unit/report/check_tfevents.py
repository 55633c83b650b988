"""check_tfevents.py REPORT_SAMPLE - TensorBoard itself reads an event file. Exits 77 (skipped) where it is not
installed."""

import os
import subprocess
import sys
import tempfile

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    print("skipped: the Python package tensorboard is not installed")
    sys.exit(77)

with tempfile.TemporaryDirectory() as folder:
    subprocess.run([sys.argv[1], folder], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    events = EventAccumulator(os.path.join(folder, "events.out.tfevents.sample"))
    events.Reload()
    points = events.Scalars("loss")
    assert [point.step for point in points] == list(range(20)), points
    assert [point.value for point in points] == [4.0 - 0.125 * step for step in range(20)], points
    assert points[3].wall_time == 1795514403.0, points[3]
