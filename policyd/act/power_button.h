/* Asking a guest to shut down: ACPI's power button, and where that is not heeded its guest agent, if it has one. What comes after that, and when, is the
 * caller's. Loop thread. */
#ifndef POLICYD_ACT_POWER_BUTTON_H
#define POLICYD_ACT_POWER_BUTTON_H

#include "policyd/dom.h"

#define POWER_BUTTON_AGAIN_MS 10000 /* some guests heed it only at the second time, or are not yet up at the first */

/* Ask. *@presses is how often that was done before (0 in the beginning), and counts. -ENOTCONN: QEMU's monitor does not answer. */
int power_button_press(struct dom *d, unsigned *presses, struct err *e);

#endif
