/*
 * container: one small real container for the tests and the demo.
 *
 *   container run --name N [--userns BASE] [--readonly-root] [--busybox FILE]
 *                 [--copy FILE:PATH]... [--bind DIR:PATH]... [--symlink TEXT:PATH]...
 *   container exec PID [--uid U] [--gid G] [--groups G,G...] [--env K=V]... -- PROGRAM [ARG]...
 *
 * Why a program of its own and not unshare(1) and nsenter(1): a test that is killed must leave
 * nothing behind (so init dies with its launcher, and the launcher with its standard input), a
 * program started inside must die with the test, and a restart must take a few milliseconds,
 * because the daemon's reaction to it is what is being timed.
 *
 * `run` prints "pid N" (init's pid in the caller's pid namespace) when the container is up, lives
 * until its standard input ends or init dies, and then exits 0. The container has mount, pid and
 * uts namespaces of its own (and a user namespace with --userns: ids BASE..BASE+65535), as
 * Pantavisor's LXC containers do: the network and ipc namespaces are the host's. Its root is a
 * tmpfs that the host owns (shifted to BASE), /run (0755) and /dev (492 KiB) are tmpfs of its own.
 *
 * `exec` joins every namespace and cgroup of PID, becomes U/G, and exits with the program's status.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define IDS 65536u
#define MAX_ITEMS 64

static const char *step = "start";
static char root[] = "/tmp/pvx-container-XXXXXX"; /* Where the new root is mounted, in the launcher's namespace only. */
static pid_t launcher;                            /* The one process that takes that directory away again. */

static void remove_root(void) {
  if (getpid() != launcher) return;
  umount2(root, MNT_DETACH);
  rmdir(root);
}

static void die(const char *what, ...) {
  int err = errno;
  va_list args;
  va_start(args, what);
  fprintf(stderr, "container: %s: cannot ", step);
  vfprintf(stderr, what, args);
  fprintf(stderr, ": %s\n", strerror(err));
  va_end(args);
  remove_root();
  _exit(1);
}

static void usage(void) {
  fprintf(stderr, "usage: container run --name N [options] | container exec PID [options] -- PROGRAM [ARG]...\n");
  exit(2);
}

struct pair { const char *from, *to; };
struct options {
  const char *name, *busybox;
  unsigned base;
  int userns, readonly_root, copies, binds, links;
  struct pair copy[MAX_ITEMS], bind[MAX_ITEMS], link[MAX_ITEMS];
};

/* "FROM:TO" -> pair; TO is absolute, so the last ":/" parts them. */
static struct pair split(char *text) {
  char *colon = strstr(text, ":/");
  if (!colon) usage();
  *colon = 0;
  return (struct pair){text, colon + 1};
}

static void make_directories(const char *path, unsigned owner) {
  char full[PATH_MAX];
  size_t start = (size_t)snprintf(full, sizeof full, "%s", root);
  snprintf(full + start, sizeof full - start, "%s", path);
  for (char *slash = full + start + 1; (slash = strchr(slash, '/')); slash++) {
    *slash = 0;
    if (mkdir(full, 0755) == 0 && chown(full, owner, owner) < 0) die("chown %s", full);
    *slash = '/';
  }
}

static void copy_file(const char *from, const char *to, unsigned owner) {
  char target[PATH_MAX];
  snprintf(target, sizeof target, "%s%s", root, to);
  make_directories(to, owner);
  int in = open(from, O_RDONLY | O_CLOEXEC);
  if (in < 0) die("open %s", from);
  int out = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
  if (out < 0) die("create %s", target);
  ssize_t n;
  while ((n = copy_file_range(in, NULL, out, NULL, 1 << 20, 0)) > 0) {}
  if (n < 0) { /* Across filesystems before Linux 5.19 and for some of them: EXDEV or EINVAL. */
    char block[65536];
    while ((n = read(in, block, sizeof block)) > 0)
      if (write(out, block, (size_t)n) != n) die("write %s", target);
    if (n < 0) die("read %s", from);
  }
  if (fchown(out, owner, owner) < 0) die("chown %s", target);
  close(in);
  close(out);
}

static void directory(const char *path, mode_t mode, unsigned owner) {
  char full[PATH_MAX];
  snprintf(full, sizeof full, "%s%s", root, path);
  if (mkdir(full, mode) < 0 && errno != EEXIST) die("mkdir %s", full);
  if (chmod(full, mode) < 0 || chown(full, owner, owner) < 0) die("chown %s", full);
}

static void wait_for(pid_t child, const char *what) {
  int status;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) die("wait for %s", what);
  if (status != 0) die("run %s", what);
}

/* The applets' names as links. `--install` would write links to the busybox that runs, hence the chroot. */
static void install_applets(void) {
  pid_t child = fork();
  if (child < 0) die("fork");
  if (child == 0) {
    if (chroot(root) < 0 || chdir("/") < 0) die("chroot %s", root);
    execl("/bin/busybox", "/bin/busybox", "--install", "-s", "/bin", (char *)NULL);
    die("run busybox");
  }
  wait_for(child, "busybox --install");
}

/* Everything that the host does before the container exists: its root, as the host's root would lay it. */
static void lay_root(const struct options *o) {
  step = "root";
  if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) die("make / private");
  if (mount("tmpfs", root, "tmpfs", MS_NOSUID, "mode=755,size=256m") < 0) die("mount tmpfs on %s", root);
  if (chown(root, o->base, o->base) < 0) die("chown %s", root);
  static const char *const plain[] = {"/bin", "/dev", "/etc", "/mnt", "/opt", "/proc", "/root", "/run", "/sys", "/usr", "/var"};
  for (int i = 0; i < o->links; i++) {
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s%s", root, o->link[i].to);
    make_directories(o->link[i].to, o->base);
    if (symlink(o->link[i].from, full) < 0) die("symlink %s", full);
    if (lchown(full, o->base, o->base) < 0) die("chown %s", full);
  }
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
    char full[PATH_MAX];
    struct stat st;
    snprintf(full, sizeof full, "%s%s", root, plain[i]);
    if (lstat(full, &st) < 0) directory(plain[i], 0755, o->base);
  }
  directory("/tmp", 01777, o->base);
  if (o->busybox) {
    copy_file(o->busybox, "/bin/busybox", o->base);
    install_applets();
  }
  for (int i = 0; i < o->binds; i++) {
    char full[PATH_MAX];
    struct stat st;
    snprintf(full, sizeof full, "%s%s", root, o->bind[i].to);
    make_directories(o->bind[i].to, o->base);
    if (stat(o->bind[i].from, &st) < 0) die("stat %s", o->bind[i].from);
    if (S_ISDIR(st.st_mode)) {
      if (mkdir(full, 0755) < 0 && errno != EEXIST) die("mkdir %s", full);
    } else close(open(full, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    if (mount(o->bind[i].from, full, NULL, MS_BIND, NULL) < 0) die("bind %s on %s", o->bind[i].from, full);
    if (mount("none", full, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0) die("make %s read-only", full);
  }
  /* Copies last, so that they can stand inside of nothing that is bound. */
  for (int i = 0; i < o->copies; i++) copy_file(o->copy[i].from, o->copy[i].to, o->base);
}

static void device(const char *name, unsigned minor_number, int userns) {
  char full[PATH_MAX], host[64];
  snprintf(full, sizeof full, "%s/dev/%s", root, name);
  snprintf(host, sizeof host, "/dev/%s", name);
  if (!userns) {
    if (mknod(full, S_IFCHR | 0666, makedev(1, minor_number)) < 0) die("mknod %s", full);
    if (chmod(full, 0666) < 0) die("chmod %s", full);
    return;
  }
  /* A node made in a user namespace can't be opened (its tmpfs is nodev there): bind the host's. */
  close(open(full, O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
  if (mount(host, full, NULL, MS_BIND, NULL) < 0) die("bind %s", host);
}

static void mount_at(const char *path, const char *type, unsigned long flags, const char *data) {
  char full[PATH_MAX];
  snprintf(full, sizeof full, "%s%s", root, path);
  if (mount(type, full, type, flags, data) < 0) die("mount %s on %s", type, path);
}

/* The container's own part, in its namespaces and before it leaves the old root. */
static void enter_root(const struct options *o) {
  step = "container";
  if (mount(root, root, NULL, MS_BIND | MS_REC, NULL) < 0) die("bind %s", root);
  mount_at("/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount_at("/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
  mount_at("/dev", "tmpfs", MS_NOSUID, "mode=755,size=492k");
  static const struct { const char *name; unsigned minor_number; } nodes[] = {
    {"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}};
  for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) device(nodes[i].name, nodes[i].minor_number, o->userns);
  char full[PATH_MAX];
  snprintf(full, sizeof full, "%s/dev/shm", root);
  if (mkdir(full, 01777) < 0 || chmod(full, 01777) < 0) die("mkdir %s", full);
  snprintf(full, sizeof full, "%s/sys", root);
  if (mount("/sys", full, NULL, MS_BIND | MS_REC, NULL) < 0) die("bind /sys");
  if (chdir(root) < 0) die("chdir %s", root);
  /* pivot_root(2), "pivot_root(".", ".")": the old root is stacked under the new one and detached. */
  if (syscall(SYS_pivot_root, ".", ".") < 0) die("pivot_root");
  if (umount2(".", MNT_DETACH) < 0) die("detach the old root");
  if (chdir("/") < 0) die("chdir /");
  if (o->readonly_root && mount("none", "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0) die("make / read-only");
}

static void end_init(int number) { (void)number; _exit(0); }

static _Noreturn void be_init(const struct options *o, int go, int ready) {
  char byte;
  if (read(go, &byte, 1) != 1) _exit(1); /* The launcher died before the id maps were written. */
  close(go);
  if (o->userns && (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)) die("become root");
  /* After the change of ids, which clears it (prctl(2), PR_SET_PDEATHSIG). */
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) die("set the parent death signal");
  if (prctl(PR_SET_DUMPABLE, 1) < 0) die("become dumpable"); /* Else /proc/PID/root is closed to an equal. */
  umask(022);
  if (sethostname(o->name, strlen(o->name)) < 0) die("set the host name");
  enter_root(o);
  signal(SIGCHLD, SIG_IGN); /* Orphans are reaped by the kernel. */
  signal(SIGTERM, end_init);
  signal(SIGINT, SIG_IGN);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  dup2(null, 0);
  dup2(null, 1);
  if (write(ready, "r", 1) != 1) _exit(1);
  close(ready);
  dup2(null, 2);
  syscall(SYS_close_range, 3u, ~0u, 0u);
  for (;;) pause();
}

static void write_map(pid_t child, const char *file, unsigned base) {
  char path[64], line[64];
  snprintf(path, sizeof path, "/proc/%d/%s", (int)child, file);
  int length = snprintf(line, sizeof line, "0 %u %u\n", base, IDS);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, line, (size_t)length) != length) die("write %s", path);
  close(fd);
}

static int run(int argc, char **argv) {
  struct options o = {.name = "container"};
  for (int i = 0; i < argc; i++) {
    const char *flag = argv[i];
    if (!strcmp(flag, "--readonly-root")) { o.readonly_root = 1; continue; }
    if (i + 1 >= argc || o.copies == MAX_ITEMS || o.binds == MAX_ITEMS || o.links == MAX_ITEMS) usage();
    char *value = argv[++i];
    if (!strcmp(flag, "--name")) o.name = value;
    else if (!strcmp(flag, "--busybox")) o.busybox = value;
    else if (!strcmp(flag, "--userns")) { o.userns = 1; o.base = (unsigned)strtoul(value, NULL, 10); }
    else if (!strcmp(flag, "--copy")) o.copy[o.copies++] = split(value);
    else if (!strcmp(flag, "--bind")) o.bind[o.binds++] = split(value);
    else if (!strcmp(flag, "--symlink")) o.link[o.links++] = split(value);
    else usage();
  }
  signal(SIGPIPE, SIG_IGN);
  if (!mkdtemp(root)) die("make a directory in /tmp");
  launcher = getpid();
  int go[2], ready[2];
  if (pipe2(go, O_CLOEXEC) < 0 || pipe2(ready, O_CLOEXEC) < 0) die("make a pipe");
  if (unshare(CLONE_NEWNS) < 0) die("unshare the mount namespace (root is needed)");
  umask(0);
  lay_root(&o);
  unsigned long flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | (o.userns ? CLONE_NEWUSER : 0) | SIGCHLD;
  pid_t init = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
  if (init < 0) die("clone");
  if (init == 0) {
    close(go[1]);
    close(ready[0]);
    be_init(&o, go[0], ready[1]);
  }
  close(go[0]);
  close(ready[1]);
  if (o.userns) {
    write_map(init, "uid_map", o.base);
    write_map(init, "gid_map", o.base);
  }
  char byte;
  int up = write(go[1], "g", 1) == 1 && read(ready[0], &byte, 1) == 1;
  remove_root();
  if (up) {
    printf("pid %d\n", (int)init);
    fflush(stdout);
    int pidfd = (int)syscall(SYS_pidfd_open, init, 0);
    struct pollfd wait[2] = {{.fd = 0, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
    char ignored[64];
    while (poll(wait, 2, -1) >= 0 || errno == EINTR) {
      if (wait[1].revents) break;
      if (wait[0].revents && read(0, ignored, sizeof ignored) <= 0) break;
    }
  }
  kill(init, SIGKILL);
  while (waitpid(init, NULL, 0) < 0 && errno == EINTR) {}
  return up ? 0 : 1;
}

/* The namespaces of `pid` that are not ours already: joining one's own user namespace is EINVAL (setns(2)). */
static int foreign_namespaces(pid_t pid) {
  static const struct { const char *name; int flag; } kinds[] = {
    {"user", CLONE_NEWUSER}, {"mnt", CLONE_NEWNS}, {"pid", CLONE_NEWPID}, {"uts", CLONE_NEWUTS},
    {"ipc", CLONE_NEWIPC}, {"net", CLONE_NEWNET}, {"cgroup", CLONE_NEWCGROUP}};
  int flags = 0;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    char theirs[64], ours[64];
    struct stat a, b;
    snprintf(theirs, sizeof theirs, "/proc/%d/ns/%s", (int)pid, kinds[i].name);
    snprintf(ours, sizeof ours, "/proc/self/ns/%s", kinds[i].name);
    if (stat(theirs, &a) < 0) die("stat %s", theirs);
    if (stat(ours, &b) < 0 || a.st_ino != b.st_ino) flags |= kinds[i].flag;
  }
  return flags;
}

/* Device rules are judged by the opener's cgroup, so a program "inside" must be in the container's. v1 and v2. */
static void join_cgroups(pid_t pid) {
  char path[64], line[PATH_MAX];
  snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
  FILE *list = fopen(path, "re");
  if (!list) return;
  while (fgets(line, sizeof line, list)) {
    line[strcspn(line, "\n")] = 0;
    char *name = strchr(line, ':'), *where = name ? strchr(name + 1, ':') : NULL;
    if (!where) continue;
    *where++ = 0;
    name++;
    if (!strncmp(name, "name=", 5)) name += 5;
    const char *folders[2] = {*name ? name : "unified", *name ? NULL : "."};
    for (int i = 0; i < 2 && folders[i]; i++) {
      char procs[2 * PATH_MAX];
      snprintf(procs, sizeof procs, "/sys/fs/cgroup/%s%s/cgroup.procs", folders[i], where);
      int fd = open(procs, O_WRONLY | O_CLOEXEC);
      if (fd < 0) continue;
      if (write(fd, "0", 1) < 0 && strcmp(where, "/")) fprintf(stderr, "container: exec: cannot join %s: %s\n", procs, strerror(errno));
      close(fd);
      break;
    }
  }
  fclose(list);
}

static pid_t program;
static void forward(int number) { if (program > 0) kill(program, number); }

static int exec_inside(int argc, char **argv) {
  step = "exec";
  if (argc < 1) usage();
  pid_t pid = (pid_t)strtol(argv[0], NULL, 10);
  uid_t uid = 0;
  gid_t gid = 0, groups[64];
  int group_count = 0, i = 1;
  clearenv();
  setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
  for (; i < argc && strcmp(argv[i], "--"); i += 2) {
    if (i + 1 >= argc) usage();
    char *value = argv[i + 1];
    if (!strcmp(argv[i], "--uid")) uid = (uid_t)strtoul(value, NULL, 10);
    else if (!strcmp(argv[i], "--gid")) gid = (gid_t)strtoul(value, NULL, 10);
    else if (!strcmp(argv[i], "--env")) putenv(value);
    else if (!strcmp(argv[i], "--groups"))
      for (char *g = strtok(value, ","); g && group_count < 64; g = strtok(NULL, ",")) groups[group_count++] = (gid_t)strtoul(g, NULL, 10);
    else usage();
  }
  if (i + 1 >= argc) usage();
  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (pidfd < 0) die("open pid %d", (int)pid);
  int flags = foreign_namespaces(pid);
  join_cgroups(pid);
  if (flags && setns(pidfd, flags) < 0) die("enter the namespaces of pid %d", (int)pid);
  close(pidfd);
  if (chdir("/") < 0) die("chdir /");
  signal(SIGTERM, forward);
  signal(SIGINT, forward);
  signal(SIGHUP, forward);
  program = fork();
  if (program < 0) die("fork");
  if (program == 0) {
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    if (setgroups((size_t)group_count, groups) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
      die("become uid %u gid %u", uid, gid);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execvp(argv[i + 1], argv + i + 1);
    fprintf(stderr, "container: exec: cannot run %s: %s\n", argv[i + 1], strerror(errno));
    _exit(127);
  }
  /* Only the program holds the pipes now: their reader sees the end when the program does. */
  close(0);
  close(1);
  int status;
  while (waitpid(program, &status, 0) < 0)
    if (errno != EINTR) die("wait");
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv) {
  if (argc < 2) usage();
  if (!strcmp(argv[1], "run")) return run(argc - 2, argv + 2);
  if (!strcmp(argv[1], "exec")) return exec_inside(argc - 2, argv + 2);
  usage();
}
