/* A plugin of qemu-user that counts the instructions of the guest and says so on standard error.
 *
 * Declared here is what it uses of QEMU's interface for plugins (docs/devel/tcg-plugins of QEMU),
 * so that no header of it is needed. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

struct qemu_plugin_tb;
typedef uint64_t id;

void qemu_plugin_register_vcpu_tb_trans_cb(id, void (*)(id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *,
                                          void (*)(unsigned, void *), int flags, void *);
void qemu_plugin_register_atexit_cb(id, void (*)(id, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

__attribute__((visibility("default"))) int qemu_plugin_version = API;

static uint64_t count;

static void executed(unsigned cpu, void *instructions) { (void)cpu, count += (uintptr_t)instructions; }

static void translated(id plugin, struct qemu_plugin_tb *block)
{
    (void)plugin;
    qemu_plugin_register_vcpu_tb_exec_cb(block, executed, 0,
                                         (void *)qemu_plugin_tb_n_insns(block));
}

static void finished(id plugin, void *nothing)
{
    (void)plugin, (void)nothing;
    fprintf(stderr, "%" PRIu64 "\n", count);
}

__attribute__((visibility("default")))
int qemu_plugin_install(id plugin, const void *info, int argc, char **argv)
{
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(plugin, translated);
    qemu_plugin_register_atexit_cb(plugin, finished, NULL);
    return 0;
}
