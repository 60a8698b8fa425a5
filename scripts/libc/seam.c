/*
 * What Rust's standard library and GCC's unwinder, both made for glibc, want of it and musl has not got.
 * scripts/build links this into each binary; docs/decisions/017 tells why.
 */

#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

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

/* People and their scripts know the kernel's errors by glibc's words: these are where musl has others. */
static const struct {
    int number;
    const char *words;
} glibcs_words[] = {
    { EIO, "Input/output error" },
    { ECHILD, "No child processes" },
    { ENOMEM, "Cannot allocate memory" },
    { EBUSY, "Device or resource busy" },
    { EXDEV, "Invalid cross-device link" },
    { EMFILE, "Too many open files" },
    { ENOTTY, "Inappropriate ioctl for device" },
    { ESPIPE, "Illegal seek" },
    { EDOM, "Numerical argument out of domain" },
    { ERANGE, "Numerical result out of range" },
    { EDEADLK, "Resource deadlock avoided" },
    { ENAMETOOLONG, "File name too long" },
    { ELOOP, "Too many levels of symbolic links" },
    { ENOTSOCK, "Socket operation on non-socket" },
    { EMSGSIZE, "Message too long" },
    { EOPNOTSUPP, "Operation not supported" },
    { EADDRINUSE, "Address already in use" },
    { EADDRNOTAVAIL, "Cannot assign requested address" },
    { ENETUNREACH, "Network is unreachable" },
    { ENETRESET, "Network dropped connection on reset" },
    { ECONNABORTED, "Software caused connection abort" },
    { EISCONN, "Transport endpoint is already connected" },
    { ENOTCONN, "Transport endpoint is not connected" },
    { ESHUTDOWN, "Cannot send after transport endpoint shutdown" },
    { ETOOMANYREFS, "Too many references: cannot splice" },
    { ETIMEDOUT, "Connection timed out" },
    { EHOSTUNREACH, "No route to host" },
    { EINPROGRESS, "Operation now in progress" },
    { EUCLEAN, "Structure needs cleaning" },
    { EDQUOT, "Disk quota exceeded" },
};

int __xpg_strerror_r(int number, char *text, size_t size)
{
    const char *words = NULL;

    for (size_t i = 0; i < sizeof glibcs_words / sizeof *glibcs_words; i++)
        if (glibcs_words[i].number == number)
            words = glibcs_words[i].words;
    if (!words)
        words = strerror(number);
    if (strlen(words) >= size)
        return ERANGE;
    strcpy(text, words);
    return 0;
}
