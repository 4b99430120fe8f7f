/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every part of clattn shares: version, status and errors, devices, contexts, tensors, buffers, plans.
 *
 * Rules for all functions
 *
 *   Arguments   A pointer must not be NULL unless its comment says so. Inputs come first, then what is created or
 *               filled, then the error. As in OpenCL, a run ends with its wait list and its event.
 *   Errors      A function that can fail returns a clattn_status and takes a clattn_error *, which may be NULL. On
 *               failure the error says which field or call failed, with which value, and what was expected; on success
 *               it is not touched. A call that fails before its first enqueue changes nothing that the caller can see.
 *   Ownership   Functions named ..._create give the caller an object that the matching ..._release gives back. Release
 *               accepts NULL. OpenCL objects passed in are retained for as long as the library needs them; those
 *               handed out are borrowed: retain them to keep them.
 *   Structs     A struct that begins with struct_size is set by its ..._init function first: struct_size to its size,
 *               all else to 0 unless the function says more. 0 means the default unless the comment of the field says
 *               otherwise. Later versions of the library append fields and accept the sizes of earlier ones, which is
 *               why these functions are inline: they know the size that the program was compiled with.
 *   Units       Lengths and strides count elements; sizes and offsets of buffers count bytes.
 *   Threads     Any function may be called from any thread, on shared contexts and plans too. An object may be
 *               released when no other call uses it.
 *   Processes   Drivers do not outlive fork(). In the child of a process in which this library has called OpenCL,
 *               whatever would call it fails with CLATTN_ERROR_FORKED at once, and releases free memory alone. Start a
 *               new process instead: exec, posix_spawn, "spawn" in Python's multiprocessing; or fork before the first
 *               call.
 *   Side effects  The library never prints, exits or aborts, starts no thread, and keeps no state outside the objects
 *               made here but the number of the process that called OpenCL first. The only environment variable that
 *               it reads is CLATTN_DEVICE, where it picks a device and is given no selector.
 *
 * The headers need <CL/cl.h> and leave CL_TARGET_OPENCL_VERSION to the program. They compile as C99 and as C++11.
 */
#ifndef CLATTN_BASE_H
#define CLATTN_BASE_H

#include <CL/cl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CLATTN_VERSION_MAJOR 0
#define CLATTN_VERSION_MINOR 1
#define CLATTN_VERSION_PATCH 0

#if defined(CLATTN_STATIC)
#define CLATTN_API
#elif defined(_WIN32)
#if defined(CLATTN_BUILDING)
#define CLATTN_API __declspec(dllexport)
#else
#define CLATTN_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define CLATTN_API __attribute__((visibility("default")))
#else
#define CLATTN_API
#endif

/* What the functions of these headers have for NULL, which C++ compilers may warn of. */
#ifdef __cplusplus
#define CLATTN_NULL nullptr
#else
#define CLATTN_NULL NULL
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that runs, such as "0.1.0"; the macros above give that of the header. */
CLATTN_API const char *clattn_version_string(void);

/* ---- status and errors ---------------------------------------------------------------------------------------- */

typedef enum clattn_status {
    CLATTN_SUCCESS = 0,
    CLATTN_ERROR_INVALID_ARGUMENT = 1,     /* misuse: a NULL pointer, a wrong struct_size, a foreign queue or buffer */
    CLATTN_ERROR_INVALID_VALUE = 2,        /* a field has a value, or fields have a combination, that means nothing */
    CLATTN_ERROR_INVALID_BUFFER = 3,       /* a buffer is missing, too small, misaligned, or overlaps an output */
    CLATTN_ERROR_UNSUPPORTED = 4,          /* the problem is valid, but nothing that was allowed can compute it */
    CLATTN_ERROR_NO_DEVICE = 5,            /* no OpenCL device, none that matches, or none that is usable */
    CLATTN_ERROR_OUT_OF_HOST_MEMORY = 6,   /* malloc failed, or the driver says that its own did */
    CLATTN_ERROR_OUT_OF_DEVICE_MEMORY = 7, /* more than the device can allocate, at once or at all */
    CLATTN_ERROR_BUILD_FAILED = 8,         /* the driver refused a kernel; the log goes to the log callback */
    CLATTN_ERROR_OPENCL = 9,               /* another OpenCL call failed; clattn_error has its name and its code */
    CLATTN_ERROR_FORKED = 10               /* a child of fork(): the library had called OpenCL in its parent */
} clattn_status;

/* A short name, such as "invalid value"; "unknown status" for a number that is none. Never NULL. */
CLATTN_API const char *clattn_status_string(clattn_status status);

/* What went wrong. Owned by the caller, needs no initialisation, filled only when a call fails. */
typedef struct clattn_error {
    clattn_status status;
    cl_int cl_code;    /* the code of the OpenCL call that failed, CL_SUCCESS where none did */
    char message[504]; /* one line: the field or call, its value, what was expected; cut where it would not fit */
} clattn_error;

/* ---- devices -------------------------------------------------------------------------------------------------- */

typedef enum clattn_device_class {
    CLATTN_DEVICE_CLASS_GPU = 0,    /* a GPU with local memory of its own */
    CLATTN_DEVICE_CLASS_MOBILE = 1, /* a GPU whose local memory is ordinary memory */
    CLATTN_DEVICE_CLASS_CPU = 2     /* a CPU, or an accelerator that works like one: few wide cores with caches */
} clattn_device_class;

typedef enum clattn_verdict {
    CLATTN_VERDICT_READY = 0,
    CLATTN_VERDICT_LIMITED = 1, /* it works, in part, slowly or with known faults; the reason says what */
    CLATTN_VERDICT_UNUSABLE = 2 /* clattn_context_create refuses it; the reason says why */
} clattn_verdict;

/* What is known of a device and matters to attention. Texts are UTF-8 as the driver gives them, cut where too long. */
typedef struct clattn_device_info {
    size_t struct_size;
    char name[128];
    char vendor[128];
    char driver[128];    /* driver version */
    char opencl[128];    /* OpenCL version of the device */
    char opencl_c[128];  /* OpenCL C version of its compiler */
    cl_device_type type; /* the bits that the driver gives; CL_DEVICE_TYPE_GPU wins where several are set */
    clattn_device_class device_class;
    uint32_t compute_units;
    uint32_t clock_mhz;      /* greatest, as the driver says; 0 where it does not */
    uint64_t global_memory;  /* bytes */
    uint64_t largest_buffer; /* bytes in one allocation */
    uint64_t local_memory;   /* bytes a work-group */
    uint64_t max_work_group; /* work-items */
    uint32_t vector_width;   /* native float lanes, as the driver says */
    uint32_t sub_group;      /* smallest sub-group in work-items; 0 where the device has none or does not say */
    int has_fp16;            /* arithmetic in half: cl_khr_fp16. f16 and bf16 storage needs neither this */
    int has_fp64;
    int has_sub_groups;
    clattn_verdict verdict;
    char reason[256]; /* why not ready and what to do about it; "" where ready */
} clattn_device_info;

static inline void clattn_device_info_init(clattn_device_info *info)
{
    memset(info, 0, sizeof *info);
    info->struct_size = sizeof *info;
}

/*
 * Fills `info` (initialised) with the facts of `device` and the verdict on it. Builds nothing.
 * Fails with INVALID_ARGUMENT for NULL or a wrong struct_size, OPENCL where the driver does not answer.
 */
CLATTN_API clattn_status clattn_device_query(cl_device_id device, clattn_device_info *info, clattn_error *error);

/*
 * Finds a device by a selector:
 *
 *   NULL or ""   the value of the environment variable CLATTN_DEVICE if that is set and not empty, else "any"
 *   any          the first usable GPU, else the first usable accelerator, else the first usable CPU
 *   gpu, cpu, accelerator    the first usable device of that type
 *   P:D          device D of platform P, both counted from 0 in the order in which OpenCL lists them
 *   name=TEXT    the first usable device whose name contains TEXT, in upper or lower case
 *
 * `device` receives the device (borrowed, as root devices are). Fails with NO_DEVICE where nothing matches, with the
 * reason and, where there is no platform at all, the packages to install; INVALID_VALUE for a selector of no such form.
 */
CLATTN_API clattn_status clattn_device_select(const char *selector, cl_device_id *device, clattn_error *error);

/* ---- contexts ------------------------------------------------------------------------------------------------- */

typedef enum clattn_log_level {
    CLATTN_LOG_ERROR = 0,
    CLATTN_LOG_WARNING = 1, /* such as: a variant failed to build and the next one was taken */
    CLATTN_LOG_INFO = 2     /* such as: a program was built, with its options, its log and the time it took */
} clattn_log_level;

/*
 * Receives one message; `text` lives until the function returns and may hold several lines. Called on the thread of
 * the call that it reports on. It must not call the library with the same context.
 */
typedef void (*clattn_log_function)(clattn_log_level level, const char *text, void *user_data);

typedef struct clattn_context_desc {
    size_t struct_size;
    clattn_log_function log; /* NULL: nothing is logged */
    void *log_data;          /* handed to log */
} clattn_context_desc;

static inline void clattn_context_desc_init(clattn_context_desc *desc)
{
    memset(desc, 0, sizeof *desc);
    desc->struct_size = sizeof *desc;
}

/* One device of one cl_context, the programs built for it, and the log callback. */
typedef struct clattn_context clattn_context;

/*
 * Makes a context on OpenCL objects of the caller's. `device` must be one of `cl_ctx`'s, or a sub-device of one
 * (clCreateSubDevices), as of a CPU some of whose cores are to stay free, where the driver takes it (PoCL does; Intel's
 * wants a cl_ctx made of the sub-devices); both are retained. PoCL's sub-devices are not given back, since its threads
 * may still look at one when nobody holds it any more: keep one that you have used without a context as well.
 * `desc` may be NULL. Builds nothing. Fails with INVALID_ARGUMENT where `device` is not in `cl_ctx`, NO_DEVICE where
 * the verdict on the device is unusable.
 */
CLATTN_API clattn_status clattn_context_create(cl_context cl_ctx, cl_device_id device, const clattn_context_desc *desc,
                                               clattn_context **context, clattn_error *error);

/* The same on a new cl_context of the device that clattn_device_select finds for `selector`, which may be NULL. */
CLATTN_API clattn_status clattn_context_create_default(const char *selector, const clattn_context_desc *desc,
                                                       clattn_context **context, clattn_error *error);

/* Plans keep what they need of their context, so the two may be released in any order. */
CLATTN_API void clattn_context_release(clattn_context *context);

/* The OpenCL objects of a context, borrowed. */
CLATTN_API cl_context clattn_context_cl_context(const clattn_context *context);
CLATTN_API cl_device_id clattn_context_cl_device(const clattn_context *context);

/* An instruction of a device for several products of narrow numbers at once, of those that the library knows. */
typedef struct clattn_matrix_unit {
    size_t struct_size;
    char name[32];    /* such as "vdpbf16ps"; "" where the device has none that the library knows */
    char types[32];   /* of the numbers, such as "bf16" */
    int used;         /* not 0: it gave known answers and is fast, and kernels are chosen that use it */
    double gain;      /* products in a time, as a multiple of float multiply-adds, measured; 0: not measured */
    char reason[256]; /* why it is not used; "" where it is */
} clattn_matrix_unit;

static inline void clattn_matrix_unit_init(clattn_matrix_unit *unit)
{
    memset(unit, 0, sizeof *unit);
    unit->struct_size = sizeof *unit;
}

/*
 * Fills `unit` (initialised) with the one of the context's device. Where that could have one, the first call, or the
 * first plan in a type of it, builds a kernel, looks whether it computes right, and times it for some milliseconds; the
 * context remembers. Fails with INVALID_ARGUMENT for NULL or a wrong struct_size, OUT_OF_HOST_MEMORY.
 */
CLATTN_API clattn_status clattn_context_matrix_unit(clattn_context *context, clattn_matrix_unit *unit,
                                                    clattn_error *error);

/* ---- tensors and buffers -------------------------------------------------------------------------------------- */

typedef enum clattn_dtype {
    CLATTN_F32 = 0,
    CLATTN_F16 = 1,  /* IEEE binary16. Arithmetic is in f32 for every type */
    CLATTN_BF16 = 2, /* the upper half of an f32 */
    CLATTN_BOOL = 3  /* one byte, 0 or not 0; masks only */
} clattn_dtype;

/* Bytes of an element; 0 for a number that is no type. */
CLATTN_API size_t clattn_dtype_size(clattn_dtype dtype);

/* "f32", "f16", "bf16", "bool"; "?" for a number that is no type. */
CLATTN_API const char *clattn_dtype_string(clattn_dtype dtype);

/*
 * How a tensor of four extents lies in its buffer: element (a, b, c, d) is at a * strides[0] + ... + d * strides[3].
 * All four strides 0 mean dense: row-major, the last extent innermost. Otherwise they are literal, and a stride of 0
 * repeats an input along that extent. Strides are never negative. strides[3] is 1 (or anything where the last extent
 * is 1): rows are contiguous. The order in memory is thus free: [batch, length, heads, dim] and packed QKV are strides.
 */
typedef struct clattn_layout {
    clattn_dtype dtype;
    int64_t strides[4]; /* elements */
} clattn_layout;

typedef enum clattn_buffer_kind {
    CLATTN_BUFFER_CL_MEM = 0 /* `mem` is an OpenCL buffer of the context's cl_context, sub-buffers included */
} clattn_buffer_kind;

/*
 * Where a tensor begins in this run and, unless it is as the plan's descriptor says, how it lies. All zero means: no
 * buffer. Strides are those of clattn_layout, read literally ({0, 0, 0, 1} repeats one row), and checked as the
 * descriptor's are, over the lengths of the run: so one plan serves a cache that is allocated anew, and views that are
 * cut differently from run to run. Operands that are dense by definition (lse, lengths, sinks, biases, weights of a
 * layer, ...) and the workspace take none.
 */
typedef struct clattn_buffer {
    clattn_buffer_kind kind;
    cl_mem mem;
    size_t offset; /* bytes from the start of `mem` to the tensor's first element; a multiple of the element size */
    int64_t strides[4]; /* elements; all 0: the descriptor's */
} clattn_buffer;

/* ---- plans ---------------------------------------------------------------------------------------------------- */

/*
 * A plan is an operation made ready: validated, its algorithm chosen, its kernels built and run once on nothing.
 * Creating one may take seconds, and is the way to ask whether something is supported. Running one builds nothing and
 * never waits. Plans are made by the ..._plan_create functions of the other headers and are then unchanging.
 */
typedef struct clattn_plan clattn_plan;

CLATTN_API void clattn_plan_release(clattn_plan *plan);

/*
 * Bytes of scratch memory that one run needs, 0 for none. A run takes them from the caller's workspace buffer where
 * one is given (at an offset that is a multiple of 256), otherwise it allocates and frees a buffer of its own.
 */
CLATTN_API size_t clattn_plan_workspace_size(const clattn_plan *plan);

/* The greatest lengths of a run and its default offset; 0 where `plan` is NULL. Any of the pointers may be NULL. */
CLATTN_API void clattn_plan_lengths(const clattn_plan *plan, int64_t *q_len, int64_t *kv_len, int64_t *offset);

/* The greatest totals of a run with packed sequences, 0 where the problem has none; else as above. */
CLATTN_API void clattn_plan_totals(const clattn_plan *plan, int64_t *q_total, int64_t *kv_total);

/* The problem, such as "b1h8q512k512d64:f16:causal"; see clattn_attention_desc_parse. Lives as long as the plan. */
CLATTN_API const char *clattn_plan_problem(const clattn_plan *plan);

/* The algorithm by its registry name, such as "flash_vector". Lives as long as the plan. */
CLATTN_API const char *clattn_plan_variant(const clattn_plan *plan);

/* All that was chosen, such as "flash/f16/d64/q64k64": algorithm, type, head dim, tile. Lives as long as the plan. */
CLATTN_API const char *clattn_plan_name(const clattn_plan *plan);

/*
 * The choice explained, a line each: "PROBLEM -> NAME", then the variants that were ranked before the chosen one, each
 * with the reason why it was not taken, then the operands whose strides no run may change (see clattn_buffer), where
 * kernels were built for them. Each line, the last too, ends with a newline. Lives as long as the plan.
 */
CLATTN_API const char *clattn_plan_describe(const clattn_plan *plan);

#ifdef __cplusplus
}
#endif

#endif
