/* Families of processes, in lists made by hand and on this host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/spawn/process.h"

enum { ROOT = 100, LEADER = 200 };

/* By hand: numbers that are no processes of this host are never asked for their environment, because only
 * orphans are. */
static struct process_list list_of(struct process *items, size_t count)
{
    return (struct process_list){ items, count, count };
}

static bool is_in(const struct process_list *list, pid_t pid)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].pid == pid) return list->items[i].in_family;
    return false;
}

static void test_family_by_descent_group_and_session(void **state)
{
    (void)state;
    struct process items[] = {
        { .pid = ROOT, .parent = 1, .group = ROOT, .session = ROOT, .state = 'S' },
        { .pid = 150,
          .parent = ROOT,
          .group = 150,
          .session = ROOT,
          .state = 'R' }, /* another trainer */
        { .pid = 151, .parent = 150, .group = 150, .session = ROOT, .state = 'R' },
        { .pid = LEADER, .parent = ROOT, .group = LEADER, .session = ROOT, .state = 'Z' },
        { .pid = 201, .parent = LEADER, .group = LEADER, .session = ROOT, .state = 'S' },
        { .pid = 202,
          .parent = 201,
          .group = 202,
          .session = 202,
          .state = 'S' }, /* detached */
        { .pid = 203,
          .parent = 1,
          .group = LEADER,
          .session = ROOT,
          .state = 'S' }, /* same group */
        { .pid = 204,
          .parent = 1,
          .group = 9,
          .session = LEADER,
          .state = 'D' }, /* same session */
        { .pid = 205, .parent = 204, .group = 9, .session = 9, .state = 'Z' },
        { .pid = 300, .parent = 1, .group = 300, .session = 300, .state = 'S' },
    };
    struct process_list list = list_of(items, ARRAY_COUNT(items));
    pid_t others[] = { 150, LEADER };
    struct process_family family = { .root = ROOT,
                                     .leader = LEADER,
                                     .marker = "PENSTOCK_ATTEMPT_ID=x",
                                     .other_leaders = others,
                                     .other_count = 2 };
    assert_int_equal(process_find_family(&list, &family), 4); /* zombies are not alive */
    assert_true(is_in(&list, LEADER));
    assert_true(is_in(&list, 201));
    assert_true(is_in(&list, 202));
    assert_true(is_in(&list, 203));
    assert_true(is_in(&list, 204));
    assert_true(is_in(&list, 205));
    assert_false(is_in(&list, ROOT));
    assert_false(is_in(&list, 150));
    assert_false(is_in(&list, 151));
    assert_false(is_in(&list, 300));
}

static void test_all_orphans(void **state)
{
    (void)state;
    struct process items[] = {
        { .pid = ROOT, .parent = 1, .group = ROOT, .session = ROOT, .state = 'S' },
        { .pid = 150, .parent = ROOT, .group = 150, .session = 150, .state = 'S' },
        { .pid = 151, .parent = 150, .group = 150, .session = 150, .state = 'S' },
        { .pid = LEADER, .parent = ROOT, .group = LEADER, .session = ROOT, .state = 'S' },
    };
    struct process_list list = list_of(items, ARRAY_COUNT(items));
    pid_t others[] = { LEADER };
    struct process_family family = { .root = ROOT,
                                     .leader = LEADER,
                                     .marker = "PENSTOCK_ATTEMPT_ID=x",
                                     .all_orphans = true,
                                     .other_leaders = others,
                                     .other_count = 1 };
    assert_int_equal(process_find_family(&list, &family), 3);
    family.all_orphans = false;
    assert_int_equal(process_find_family(&list, &family), 1);
}

static void test_marker_finds_a_real_orphan(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        execle("/bin/sleep", "sleep", "100", (char *)NULL,
               (char *const[]){ (char[]){ "A=1" }, (char[]){ "PENSTOCK_ATTEMPT_ID=test.1" },
                                NULL });
        _exit(1);
    }
    struct process_list list = { 0 };
    struct process_family family = { .root = getpid(), .marker = "PENSTOCK_ATTEMPT_ID=test.1" };
    size_t found = 0;
    for (int i = 0; i < 2000 && found == 0; i++) { /* until exec has happened */
        assert_int_equal(process_list_read(&list, NULL), ERR_OK);
        found = process_find_family(&list, &family);
        usleep(1000);
    }
    assert_int_equal(found, 1);
    assert_true(is_in(&list, child));
    family.marker = "PENSTOCK_ATTEMPT_ID=test.11";
    assert_int_equal(process_find_family(&list, &family), 0);
    family.marker = "PENSTOCK_ATTEMPT_ID=test";
    assert_int_equal(process_find_family(&list, &family), 0);
    family.marker = "PENSTOCK_ATTEMPT_ID=test.1";
    assert_int_equal(process_find_family(&list, &family), 1);
    process_kill_family(&list);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    process_list_fini(&list);
}

static void test_own_cpu_time_is_seen(void **state)
{
    (void)state;
    struct process_list list = { 0 };
    struct process_family family = { .root = 1,
                                     .leader = getppid(),
                                     .marker = "PENSTOCK_ATTEMPT_ID=none" };
    assert_int_equal(process_list_read(&list, NULL), ERR_OK);
    assert_true(list.count >= 2);
    for (size_t i = 1; i < list.count; i++)
        assert_true(list.items[i - 1].pid < list.items[i].pid);
    assert_true(process_find_family(&list, &family) >= 1);
    assert_false(is_in(&list, getpid())); /* never itself */
    process_list_fini(&list);
    process_list_fini(&list);
}

/* A child that is known counts for nothing, one that is not is seen, an orphan's orphan too. */
static void test_unknown_children_are_seen(void **state)
{
    (void)state;
    int gate[2], told[2];
    assert_int_equal(pipe(gate), 0);
    assert_int_equal(pipe(told), 0);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    int children = process_open_children();
    assert_true(process_has_no_child_but(children, NULL, 0));
    assert_false(process_has_no_child_but(-1, NULL, 0));
    pid_t child = fork();
    if (child == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0) {
            char byte;
            close(gate[1]);
            _exit(read(gate[0], &byte, 1) == 0 ? 0 : 1);
        }
        _exit(write(told[1], &grandchild, sizeof grandchild) == sizeof grandchild ? 0 : 1);
    }
    pid_t grandchild = 0;
    siginfo_t info;
    assert_int_equal(read(told[0], &grandchild, sizeof grandchild), sizeof grandchild);
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_false(process_has_no_child_but(children, NULL, 0));
    assert_false(
        process_has_no_child_but(children, &child, 1)); /* the grandchild is ours by now */
    assert_true(process_has_no_child_but(children, (pid_t[]){ grandchild, child }, 2));
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_false(process_has_no_child_but(children, NULL, 0));
    close(gate[1]);
    assert_int_equal(waitpid(grandchild, NULL, 0), grandchild);
    assert_true(process_has_no_child_but(children, NULL, 0));
    close(children);
    close(gate[0]);
    close(told[0]);
    close(told[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_family_by_descent_group_and_session),
        cmocka_unit_test(test_all_orphans),
        cmocka_unit_test(test_marker_finds_a_real_orphan),
        cmocka_unit_test(test_own_cpu_time_is_seen),
        cmocka_unit_test(test_unknown_children_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
