"""ROS messages to streams: fields found once a layout, read by numpy, one file a family of types."""
