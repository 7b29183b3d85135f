/* Kernel interfaces that Debian 12's headers do not have yet: asynchronous userfaultfd write protection and PAGEMAP_SCAN (Linux 6.7). */
#ifndef MIGRATE_UFFD_ABI_H
#define MIGRATE_UFFD_ABI_H

#include <linux/userfaultfd.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define UFFD_WANTED                                                                                                    \
	((1ULL << 0) /* PAGEFAULT_FLAG_WP */ | (1ULL << 12) /* WP_HUGETLBFS_SHMEM */ |                                 \
		(1ULL << 13) /* WP_UNPOPULATED */ | (1ULL << 15) /* WP_ASYNC */)
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

struct pm_region {
	uint64_t start, end, categories;
};

struct pm_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted, category_mask,
		category_anyof_mask, return_mask;
};

#define PM_IOCTL_SCAN _IOWR('f', 16, struct pm_scan)
#define PM_FLAG_WP_MATCHING 1
#define PM_FLAG_CHECK_WPASYNC 2
#define PM_WRITTEN 2
#define PM_PRESENT 8

#endif
