# Read by the example guests' /etc/rc: ballast.name=, ballast.ip= and others from the kernel's command line, and eth0 with that address.
for word in $(cat /proc/cmdline); do
	case $word in
	ballast.name=*) name=${word#*=} ;;
	ballast.ip=*) ip=${word#*=} ;;
	ballast.members=*) members=${word#*=} ;;
	esac
done
ip link set lo up
while [ ! -e /sys/class/net/eth0 ]; do sleep 0.1; done
echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_notify # the network learns at once where it is
ip addr add "$ip/24" dev eth0
ip link set eth0 up
