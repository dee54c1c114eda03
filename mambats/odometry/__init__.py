"""Odometry: pose, velocity and their covariance from streams of sensors."""
