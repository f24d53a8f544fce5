# Where the boot sector, system calls and exceptions enter the kernel.

        .section .text.start, "ax"
        .globl  _start
_start: jmp     start

        .text
# A system call. It comes and goes in ring 0, on the program's stack, 128 bytes of which below the pointer are the program's own.
        .globl  entry
entry:
        lea     -128(%rsp), %rsp
        push    %r11
        push    %rcx
        push    %r9
        push    %r8
        push    %r10
        push    %rdx
        push    %rsi
        push    %rdi
        push    %rax
        push    %rbp
        mov     %rsp, %rbp
        lea     8(%rsp), %rdi
        and     $-16, %rsp
        cld
        call    call
        mov     %rbp, %rsp
        pop     %rbp
        add     $8, %rsp
        pop     %rdi
        pop     %rsi
        pop     %rdx
        pop     %r10
        pop     %r8
        pop     %r9
        pop     %rcx
        pop     %r11
        lea     128(%rsp), %rsp
        push    %r11
        popfq
        jmp     *%rcx

# Exceptions: some push an error code by themselves.
        .altmacro
        .macro  stub n
stub\n:
        .if     (\n != 8) && (\n < 10 || \n > 14) && (\n != 17)
        push    $0
        .endif
        push    $\n
        mov     %rsp, %rdi
        and     $-16, %rsp
        call    fault
        .endm
        .macro  address n
        .quad   stub\n
        .endm

        .set    i, 0
        .rept   32
        stub    %i
        .set    i, i + 1
        .endr

        .section .rodata
        .globl  stubs
stubs:
        .set    i, 0
        .rept   32
        address %i
        .set    i, i + 1
        .endr
