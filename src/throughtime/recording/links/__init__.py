"""What lies between recorded calls, by autograd's graph: links, and the joint measure over them."""

from throughtime.recording.links.plain import find_links, stacks
from throughtime.recording.links.watch import Joints

__all__ = ["Joints", "find_links", "stacks"]
