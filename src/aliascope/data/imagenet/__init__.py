"""ImageNet's validation images, from the archive that image-net.org gives into class folders."""
