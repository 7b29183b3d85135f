/* A guest's network port: a tap device that we make, put into the switch's bridge and hand to QEMU as an open descriptor, so that QEMU needs
 * no right to make one and no script or helper program runs. In the network namespace of the caller. Called by launch_start. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "domain/launch_priv.h"

/* Join @bridge (index already known to exist) and go up. */
static int tap_join(const char *tap, const char *bridge)
{
	struct ifreq port = {0}, flags = {0};
	int r = 0, s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0)
		return -errno;
	snprintf(port.ifr_name, sizeof(port.ifr_name), "%s", bridge);
	port.ifr_ifindex = (int)if_nametoindex(tap);
	snprintf(flags.ifr_name, sizeof(flags.ifr_name), "%s", tap);
	if (ioctl(s, SIOCBRADDIF, &port) < 0 || ioctl(s, SIOCGIFFLAGS, &flags) < 0) {
		r = -errno;
	} else {
		flags.ifr_flags |= IFF_UP;
		if (ioctl(s, SIOCSIFFLAGS, &flags) < 0)
			r = -errno;
	}
	close(s);
	return r;
}

int launch_tap_open(const char *bridge, struct err *e)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, .ifr_name = "bal%d"};
	int fd, r;

	if (!if_nametoindex(bridge))
		return err_set(e, ENOENT,
			"there is no bridge \"%s\" in this network namespace; make it (ip link add %s type bridge; ip link "
			"set %s up) or correct host.switches",
			bridge, bridge, bridge);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, errno, "/dev/net/tun: %s", strerror(errno));
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		r = err_set(e, errno, "cannot make a tap device: %s%s", strerror(errno),
			errno == EPERM ? " (needs CAP_NET_ADMIN)" : "");
	} else {
		r = tap_join(ifr.ifr_name, bridge);
		if (r < 0)
			err_set(e, -r, "cannot put %s into bridge \"%s\": %s", ifr.ifr_name, bridge, strerror(-r));
	}
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}
