/*
 * What Rust's standard library and GCC's unwinder, both made for glibc, want of it and musl has not got.
 * scripts/build links this into each binary; docs/decisions/017 tells why.
 */

#include <elf.h>
#include <stddef.h>

/* The standard library asks whether posix_spawn(3) reports a failed exec, as glibc's does since 2.24, and
 * whether /etc/resolv.conf is read again when it has changed, as since 2.26. musl always did both. */
const char *gnu_get_libc_version(void)
{
    return "2.26";
}

int __res_init(void)
{
    return 0;
}

/* glibc's <dlfcn.h>: where the unwinder finds the tables of a function. */
struct dl_find_object {
    unsigned long long dlfo_flags;
    void *dlfo_map_start;
    void *dlfo_map_end;
    void *dlfo_link_map;
    void *dlfo_eh_frame;
    unsigned long long dlfo_reserved[7];
};

extern const char __ehdr_start[]; /* the linker's: this program's own headers */
extern const char _end[];

int _dl_find_object(void *address, struct dl_find_object *result)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)__ehdr_start;
    const Elf64_Phdr *segment = (const Elf64_Phdr *)(__ehdr_start + header->e_phoff);

    /* A static program is the only object, and not moved from where its headers say. */
    if ((const char *)address < __ehdr_start || (const char *)address >= _end)
        return -1;
    for (int i = 0; i < header->e_phnum; i++) {
        if (segment[i].p_type == PT_GNU_EH_FRAME) {
            result->dlfo_flags = 0;
            result->dlfo_map_start = (void *)__ehdr_start;
            result->dlfo_map_end = (void *)_end;
            result->dlfo_link_map = NULL;
            result->dlfo_eh_frame = (void *)segment[i].p_vaddr;
            return 0;
        }
    }
    return -1;
}
