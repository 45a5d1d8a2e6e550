"""What protocols build their item sets from: manifests, published lists, rendering, test conditions."""
