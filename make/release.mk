# Releases.

# The last step of a release: keeps the header that the next release must stay compatible with.
abi:
	rm -f abi/mux-*.h
	cp include/mux.h abi/mux-$(VERSION).h

dist:
	@mkdir -p $(B)
	CARGO='$(CARGO)' sh tools/dist.sh $(B)

# Debian packages, built from the tarball in a tree of their own and without the variables of this make.
deb: dist
	rm -rf $(B)/deb $(B)/libmux*_$(VERSION)_*.deb $(B)/9pmux_*.deb
	mkdir $(B)/deb
	tar -xf $(B)/libmux-$(VERSION).tar.gz -C $(B)/deb
	cd $(B)/deb/libmux-$(VERSION) && MAKEFLAGS= dpkg-buildpackage -b -us -uc
	rm -rf $(B)/deb/libmux-$(VERSION)
	cp $(B)/deb/*.deb $(B)

.PHONY: abi dist deb
