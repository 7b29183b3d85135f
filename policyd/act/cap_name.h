/* Where this policyd's CPU caps are (resize/cap.h): every user of them on a machine has a base of its own. Loop thread. */
#ifndef POLICYD_ACT_CAP_NAME_H
#define POLICYD_ACT_CAP_NAME_H

#include "policyd/policyd.h"
#include "resize/cap.h"

/* cap_detect, with a base of our own: "ballast" for the usual run folder, else one that follows from it. A domain's group has its name. */
int cap_name_fs(const struct policyd *p, struct cap_fs *out, struct err *e);

#endif
